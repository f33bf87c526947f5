"""The conformance vectors: small scenarios on which the known implementations differ, and what bide gives."""

from datetime import timedelta

import pytest

from bide import App, InstanceEndedError, InstanceNotFoundError
from bide import OrchestrationRuntimeStatus as Status
from bide.testing import Harness

app = App()


@app.activity
async def echo(value):
    return value


@app.activity
async def fail(message):
    raise ValueError(message)


async def result_of(harness: Harness, instance_id: str):
    await harness.run_until_idle()
    status = await harness.client.get_status(instance_id)
    assert status.runtime_status is Status.COMPLETED, status
    return status.output


@app.orchestrator
def two_waits(context):
    first = yield context.wait_for_external_event("A")
    second = yield context.wait_for_external_event("A")
    return [first, second]


async def start_later(harness: Harness, name: str, **kwargs) -> str:
    """Start in an hour, so that events can be raised before the first turn."""
    return await harness.client.start_new(name, start_at=timedelta(hours=1), **kwargs)


async def test_early_events_are_consumed_in_order():
    """Vector 1: two early events serve two waits, each once, in order."""
    async with Harness(app) as harness:
        instance_id = await start_later(harness, "two_waits")
        await harness.client.raise_event(instance_id, "A", 1)
        await harness.client.raise_event(instance_id, "A", 2)
        await harness.advance(timedelta(hours=1))
        assert await result_of(harness, instance_id) == [1, 2]


async def test_one_event_serves_one_wait():
    """Vector 2: after one event, the second wait blocks."""
    async with Harness(app) as harness:
        instance_id = await start_later(harness, "two_waits")
        await harness.client.raise_event(instance_id, "A", 1)
        await harness.advance(timedelta(hours=1))
        await harness.assert_waiting_for(instance_id, "A")


async def test_waits_of_one_name_are_served_in_order():
    """Vector 3: task_all of two waits for A, events 1 and 2: [1, 2]."""

    @(local := App()).orchestrator
    def both(context):
        return (yield context.task_all([context.wait_for_external_event("A"), context.wait_for_external_event("A")]))

    async with Harness(local) as harness:
        instance_id = await harness.client.start_new("both")
        await harness.client.raise_event(instance_id, "A", 1)
        await harness.client.raise_event(instance_id, "A", 2)
        assert await result_of(harness, instance_id) == [1, 2]


async def test_a_wait_that_lost_a_race_swallows_nothing():
    """Vector 4: the timer wins; an event during the following work goes to the next wait."""

    @(local := App()).orchestrator
    def race(context):
        lost = context.wait_for_external_event("A")
        yield context.task_any([lost, context.create_timer(timedelta(minutes=1))])
        yield context.create_timer(timedelta(minutes=1))
        return (yield context.wait_for_external_event("A"))

    async with Harness(local) as harness:
        instance_id = await harness.client.start_new("race")
        await harness.advance(timedelta(minutes=1))
        await harness.client.raise_event(instance_id, "A", "late")
        await harness.advance(timedelta(minutes=1))
        assert await result_of(harness, instance_id) == "late"


async def test_a_loop_of_races_misses_nothing():
    """Vector 5: a fresh wait in the second round gets the event."""

    @(local := App()).orchestrator
    def rounds(context):
        for _ in range(3):
            wait = context.wait_for_external_event("A")
            timer = context.create_timer(timedelta(minutes=1))
            if (yield context.task_any([wait, timer])) == wait:
                return wait.result
        return None

    async with Harness(local) as harness:
        instance_id = await harness.client.start_new("rounds")
        await harness.advance(timedelta(seconds=90))
        await harness.client.raise_event(instance_id, "A", 1)
        assert await result_of(harness, instance_id) == 1


async def test_looking_at_a_wait_claims_its_event():
    """Vector 6: a wait that was never yielded is complete once its event has arrived."""

    @(local := App()).orchestrator
    def poll(context):
        wait = context.wait_for_external_event("A")
        yield context.create_timer(timedelta(minutes=1))
        return [wait.is_completed, wait.result]

    async with Harness(local) as harness:
        instance_id = await harness.client.start_new("poll")
        await harness.client.raise_event(instance_id, "A", 7)
        await harness.advance(timedelta(minutes=1))
        assert await result_of(harness, instance_id) == [True, 7]


async def test_names_match_without_case():
    """Vector 7: a wait for "a" takes the event "A"."""
    async with Harness(app) as harness:
        instance_id = await harness.client.start_new("two_waits")
        await harness.client.raise_event(instance_id, "a", 1)
        await harness.client.raise_event(instance_id, "A", 2)
        assert await result_of(harness, instance_id) == [1, 2]


async def test_continue_as_new_carries_events_in_order():
    """Vector 8: events A, B, A that nobody consumed are there in the next generation, in order."""

    @(local := App()).orchestrator
    def generations(context):
        if context.get_input() is None:
            yield context.wait_for_external_event("go")
            context.continue_as_new("second")
            return None
        names = ["A", "B", "A"]
        values = []
        for name in names:
            values.append((yield context.wait_for_external_event(name)))
        return values

    async with Harness(local) as harness:
        instance_id = await harness.client.start_new("generations")
        for name, value in (("A", 1), ("B", 2), ("A", 3), ("go", None)):
            await harness.client.raise_event(instance_id, name, value)
        assert await result_of(harness, instance_id) == [1, 2, 3]


async def test_an_event_for_an_unknown_instance_is_not_kept_for_a_later_one():
    """Vector 10: it is a dead letter, and the instance that gets the id later does not see it."""
    async with Harness(app) as harness:
        with pytest.raises(InstanceNotFoundError):
            await harness.client.raise_event("later", "A", 1)
        await harness.client.start_new("two_waits", "later")
        assert (await harness.client.get_status("later")).buffered == {}
        [letter] = (await harness.client.dead_letters()).items
        assert letter.reason == "unknown-instance"


async def test_an_event_for_an_ended_instance_is_refused():
    """Vector 11: a distinct error and a dead letter; the instance that replaces it does not see the event."""
    async with Harness(app) as harness:
        await harness.client.start_new("two_waits", "x")
        await harness.client.terminate("x", "enough")
        with pytest.raises(InstanceEndedError):
            await harness.client.raise_event("x", "A", 1)
        await harness.client.start_new("two_waits", "x")
        await harness.assert_waiting_for("x", "A")
        assert (await harness.client.get_status("x")).buffered == {}


async def test_a_suspended_instance_handles_everything_in_order_when_resumed():
    """Vector 12: events wait while it is suspended."""
    async with Harness(app) as harness:
        await harness.client.start_new("two_waits", "x")
        await harness.client.suspend("x")
        await harness.client.raise_event("x", "A", 1)
        await harness.client.raise_event("x", "A", 2)
        status = await harness.client.get_status("x")
        assert (status.runtime_status, status.buffered) == (Status.SUSPENDED, {"A": 2})
        await harness.client.resume("x")
        assert await result_of(harness, "x") == [1, 2]


async def test_terminate_gets_through_to_a_suspended_instance():
    """Vector 13."""
    async with Harness(app) as harness:
        await harness.client.start_new("two_waits", "x")
        await harness.client.suspend("x")
        await harness.client.terminate("x", "enough")
        status = await harness.client.get_status("x")
        assert (status.runtime_status, status.output) == (Status.TERMINATED, "enough")


@pytest.mark.parametrize("value", ["true", True, None, {"a": 1}, 0, ""])
async def test_payloads_are_encoded_once(value):
    """Vector 14: what is sent is what arrives; a string stays a string."""
    async with Harness(app) as harness:
        await harness.client.start_new("two_waits", "x")
        await harness.client.raise_event("x", "A", value)
        await harness.client.raise_event("x", "A", value)
        assert await result_of(harness, "x") == [value, value]


async def test_a_payload_of_the_wrong_type_can_be_caught():
    """Vector 15: EventPayloadError at the yield, and the event is consumed."""

    @(local := App()).orchestrator
    def strict(context):
        try:
            yield context.wait_for_external_event("A", int)
        except ValueError as error:
            return [type(error).__name__, (yield context.wait_for_external_event("A", int))]

    async with Harness(local) as harness:
        await harness.client.start_new("strict", "x")
        await harness.client.raise_event("x", "A", "no number")
        await harness.client.raise_event("x", "A", 5)
        assert await result_of(harness, "x") == ["EventPayloadError", 5]


async def test_returning_completes_at_once():
    """Vector 16: an open timer of a year does not keep the instance alive."""

    @(local := App()).orchestrator
    def hasty(context):
        context.create_timer(timedelta(days=365))
        yield context.wait_for_external_event("A")
        return "done"

    async with Harness(local) as harness:
        await harness.client.start_new("hasty", "x")
        await harness.client.raise_event("x", "A")
        assert await result_of(harness, "x") == "done"
        assert harness.clock.next_alarm() is None or await harness.advance(timedelta(days=366)) is None


async def test_all_of_nothing_and_any_of_nothing():
    """Vector 17: an empty list, and a ValueError."""

    @(local := App()).orchestrator
    def empty(context):
        nothing = yield context.task_all([])
        try:
            context.task_any([])
        except ValueError:
            return nothing
        return "unreachable"

    async with Harness(local) as harness:
        await harness.client.start_new("empty", "x")
        assert await result_of(harness, "x") == []


async def test_a_failed_task_wins_a_race_without_raising():
    """Vector 18: task_any returns the failed task; its error comes with its result."""

    @app.orchestrator
    def failing_race(context):
        task = context.call_activity("fail", "no")
        winner = yield context.task_any([task, context.wait_for_external_event("A")])
        return [winner == task, winner.is_faulted, str(winner.exception)]

    async with Harness(app) as harness:
        await harness.client.start_new("failing_race", "x")
        assert await result_of(harness, "x") == [True, True, "fail failed: ValueError: no"]


async def test_a_falsy_custom_status_is_kept():
    """Vector 22."""

    @(local := App()).orchestrator
    def status(context):
        context.set_custom_status(0)
        yield context.wait_for_external_event("A")

    async with Harness(local) as harness:
        await harness.client.start_new("status", "x")
        assert (await harness.client.get_status("x")).custom_status == 0


async def test_an_event_id_is_accepted_once():
    """Vector 23: the second raise is answered as a duplicate, and changes nothing."""
    async with Harness(app) as harness:
        await harness.client.start_new("two_waits", "x")
        first = await harness.client.raise_event("x", "A", 1, event_id="e1")
        second = await harness.client.raise_event("x", "A", 1, event_id="e1")
        assert (first.is_duplicate, second.is_duplicate) == (False, True)
        await harness.assert_waiting_for("x", "A")


async def test_uuids_are_those_of_the_python_sdks():
    """Vector 20, the values of azure-functions-durable and durabletask."""

    @(local := App()).orchestrator
    def ids(context):
        return [str(context.new_uuid()), str(context.new_uuid())]

    async with Harness(local) as harness:
        harness.clock.move_to(harness.clock.now() + 1_000_000)
        await harness.client.start_new("ids", "inst1")
        assert await result_of(harness, "inst1") == [
            "bb7b6a0b-8032-57eb-9fef-63db3cfaca8e",
            "e40e8815-d220-5784-8c88-d86e882ccef2",
        ]
