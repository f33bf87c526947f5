"""From start to purge: children, retries, rewind, restart, versions; resident and replayed instances alike."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import pytest

import bide
from bide import App, RetryOptions
from bide import OrchestrationRuntimeStatus as Status
from bide.model.messages import RaiseEvent, Terminate
from bide.runtime.retention import Retention
from bide.store import MemoryStore
from bide.testing import Harness


async def ended(harness: Harness, instance_id: str) -> bide.OrchestrationStatus:
    await harness.run_until_idle()
    status = await harness.client.get_status(instance_id)
    assert status.runtime_status.is_ended, status
    return status


async def run(harness: Harness, name: str, value=None) -> bide.OrchestrationStatus:
    return await ended(harness, await harness.client.start_new(name, client_input=value))


# Children


def family() -> App:
    app = App()

    @app.orchestrator
    def parent(context):
        return (yield context.call_sub_orchestrator(child, context.get_input(), "the-child"))

    @app.orchestrator
    def child(context):
        answer = yield context.wait_for_external_event("Answer")
        if answer == "fail":
            raise ValueError("the child says no")
        return [context.parent_instance_id, context.get_input(), answer]

    @app.orchestrator
    def careful(context):
        try:
            yield context.call_sub_orchestrator("child", None, "the-child")
        except bide.TaskFailedError as error:
            return [error.task_name, error.error_type, error.message]

    return app


async def test_a_child_returns_its_result(open_harness):
    """It is an instance of its own, waits on its own, and knows its parent."""
    async with open_harness(family()) as harness:
        await harness.client.start_new("parent", "p", 7)
        await harness.assert_waiting_for("the-child", "Answer")
        await harness.client.raise_event("the-child", "Answer", "ok")
        assert (await ended(harness, "p")).output == ["p", 7, "ok"]


async def test_a_failed_child_fails_its_parent_unless_it_is_caught(open_harness):
    async with open_harness(family()) as harness:
        await harness.client.start_new("careful", "c")
        await harness.run_until_idle()
        await harness.client.raise_event("the-child", "Answer", "fail")
        assert (await ended(harness, "c")).output == ["child", "ValueError", "the child says no"]
        await harness.client.start_new("parent", "p")
        await harness.run_until_idle()
        await harness.client.raise_event("the-child", "Answer", "fail")
        status = await ended(harness, "p")
        assert status.runtime_status is Status.FAILED
        assert "the child says no" in status.output


@pytest.mark.parametrize(("recursive", "expected"), [(True, Status.TERMINATED), (False, Status.RUNNING)])
async def test_terminate_reaches_children_when_asked_to(open_harness, recursive, expected):
    async with open_harness(family()) as harness:
        await harness.client.start_new("parent", "p")
        await harness.run_until_idle()
        await harness.client.terminate("p", "enough", recursive=recursive)
        assert (await ended(harness, "p")).output == "enough"
        assert (await harness.client.get_status("the-child")).runtime_status is expected


async def test_a_terminated_child_fails_its_parent(open_harness):
    async with open_harness(family()) as harness:
        await harness.client.start_new("careful", "c")
        await harness.run_until_idle()
        await harness.client.terminate("the-child", "stop it")
        assert (await ended(harness, "c")).output == ["child", "TerminatedError", "stop it"]


async def test_purge_takes_children_along_when_asked_to(open_harness):
    async with open_harness(family()) as harness:
        await harness.client.start_new("parent", "p")
        await harness.run_until_idle()
        await harness.client.terminate("p", recursive=True)
        await harness.run_until_idle()
        assert await harness.client.purge("p", recursive=True) == 2
        assert (await harness.client.get_status_by()).items == ()


async def test_a_child_whose_id_is_taken_fails(open_harness):
    """The parent hears of it; the instance that has the id is left alone."""
    async with open_harness(family()) as harness:
        await harness.client.start_new("child", "the-child")
        output = (await run(harness, "careful")).output
        assert output[:2] == ["child", "InstanceExistsError"]
        assert (await harness.client.get_status("the-child")).runtime_status is Status.RUNNING


async def test_an_unknown_child_fails_its_parent(open_harness):
    @(app := App()).orchestrator
    def parent(context):
        yield context.call_sub_orchestrator("nobody")

    async with open_harness(app) as harness:
        status = await run(harness, "parent")
        assert status.runtime_status is Status.FAILED
        assert "No orchestrator is named 'nobody'" in status.output


# Retries


async def test_pauses_of_a_retry(open_harness):
    """Vector 19: first 1 s, coefficient 2, cap 3 s, five attempts: pauses of 1, 2, 3 and 3 s."""
    app, attempts = App(), []
    options = RetryOptions(timedelta(seconds=1), 5, backoff_coefficient=2, max_retry_interval=timedelta(seconds=3))

    @app.orchestrator
    def stubborn(context):
        yield context.call_activity(failing, retry=options)

    @app.activity
    async def failing():
        attempts.append(harness.clock.now() // 1_000_000)
        raise OSError("still down")

    async with open_harness(app) as harness:
        instance_id = await harness.client.start_new("stubborn")
        await harness.advance(60)
        assert (await ended(harness, instance_id)).runtime_status is Status.FAILED
        assert [after - before for before, after in pairwise(attempts)] == [1, 2, 3, 3]


async def test_a_retry_ends_with_success(open_harness):
    app, attempts = App(), []

    @app.orchestrator
    def patient(context):
        return (yield context.call_activity_with_retry("flaky", RetryOptions(timedelta(minutes=1), 9), "in"))

    @app.activity
    async def flaky(value):
        attempts.append(value)
        if len(attempts) < 3:
            raise OSError("down")
        return len(attempts)

    async with open_harness(app) as harness:
        instance_id = await harness.client.start_new("patient")
        await harness.advance(3600)
        assert (await ended(harness, instance_id)).output == 3


async def test_a_retry_asks_its_handler_and_its_clock(open_harness):
    """`handle` may say no; `retry_timeout` ends the attempts."""
    app, attempts = App(), []

    @app.orchestrator
    def picky(context):
        options = RetryOptions(timedelta(seconds=1), 9, handle=lambda error: error.error_type != "ValueError")
        yield context.call_activity("fails", "ValueError", retry=options)

    @app.orchestrator
    def hurried(context):
        options = RetryOptions(timedelta(seconds=10), 99, retry_timeout=timedelta(seconds=35))
        yield context.call_activity("fails", "OSError", retry=options)

    @app.activity
    async def fails(kind):
        attempts.append(kind)
        raise {"ValueError": ValueError, "OSError": OSError}[kind]("x")

    async with open_harness(app) as harness:
        for name in ("picky", "hurried"):
            instance_id = await harness.client.start_new(name)
            await harness.advance(3600)
            await ended(harness, instance_id)
        assert attempts == ["ValueError"] + ["OSError"] * 5


async def test_a_child_is_retried(open_harness):
    app, attempts = App(), []

    @app.orchestrator
    def parent(context):
        return (yield context.call_sub_orchestrator(child, retry=RetryOptions(timedelta(seconds=1), 3)))

    @app.orchestrator
    def child(context):
        if not context.is_replaying:
            attempts.append(context.instance_id)
        if len(attempts) < 2:
            raise ValueError("not yet")
        return "done"
        yield

    async with open_harness(app) as harness:
        instance_id = await harness.client.start_new("parent")
        await harness.advance(10)
        assert (await ended(harness, instance_id)).output == "done"
        assert len(set(attempts)) == 2, "each attempt is an instance of its own"


# Rewind


async def test_rewind_tries_a_failed_activity_again(open_harness):
    """What succeeded before is not repeated, the history keeps what happened."""
    app, calls = App(), []

    @app.orchestrator
    def order(context):
        first = yield context.call_activity("pay", "one")
        second = yield context.call_activity("pay", "two")
        return [first, second]

    @app.activity
    async def pay(value):
        calls.append(value)
        if calls == ["one", "two"]:
            raise OSError("card reader is down")
        return value

    async with open_harness(app) as harness:
        instance_id = await harness.client.start_new("order")
        assert (await ended(harness, instance_id)).runtime_status is Status.FAILED
        await harness.client.rewind(instance_id, "card reader mended")
        assert (await ended(harness, instance_id)).output == ["one", "two"]
        assert calls == ["one", "two", "two"]
        kinds = [entry.event.event_type for entry in await harness.client.get_history(instance_id)]
        assert kinds.count("TaskFailed") == 1
        assert kinds.count("ExecutionRewound") == 1


async def test_rewind_takes_up_a_failed_child_too(open_harness):
    app, is_down = App(), [True]

    @app.orchestrator
    def parent(context):
        return (yield context.call_sub_orchestrator(child))

    @app.orchestrator
    def child(context):
        return (yield context.call_activity("step"))

    @app.activity
    async def step():
        if is_down:
            raise OSError("down")
        return "up"

    async with open_harness(app) as harness:
        instance_id = await harness.client.start_new("parent")
        assert (await ended(harness, instance_id)).runtime_status is Status.FAILED
        is_down.clear()
        await harness.client.rewind(instance_id)
        assert (await ended(harness, instance_id)).output == "up"


async def test_rewind_after_the_code_was_mended(open_harness):
    """A bug in the orchestrator fails the instance; events that were not consumed wait for the mended code."""
    app, has_bug = App(), [True]

    @app.orchestrator
    def buggy(context):
        value = yield context.wait_for_external_event("A")
        if has_bug:
            raise KeyError("typo")
        return [value, (yield context.wait_for_external_event("B"))]

    async with open_harness(app) as harness:
        await harness.client.start_new("buggy", "b")
        await harness.client.suspend("b")
        await harness.client.raise_event("b", "B", 2)
        await harness.client.raise_event("b", "A", 1)
        await harness.client.resume("b")
        status = await ended(harness, "b")
        assert (status.runtime_status, status.buffered) == (Status.FAILED, {"B": 1})
        has_bug.clear()
        await harness.client.rewind("b")
        assert (await ended(harness, "b")).output == [1, 2]


async def test_rewind_is_for_failed_instances(open_harness):
    async with open_harness(family()) as harness:
        await harness.client.start_new("child", "c")
        with pytest.raises(bide.InstanceStateError, match="Running"):
            await harness.client.rewind("c")


# Determinism


async def test_changed_code_is_found_out_and_can_be_put_right():
    """The failure tells what history holds, what the code asked for, and where; rewind goes on with mended code."""
    store, version = MemoryStore(), ["old"]

    @(app := App()).orchestrator
    def changing(context):
        yield context.call_activity("charge" if version == ["old"] else "ship")
        return (yield context.wait_for_external_event("Done"))

    @app.activity
    async def charge(): ...

    async with Harness(app, store) as harness:
        await harness.client.start_new("changing", "c")
        await harness.assert_waiting_for("c", "Done")
    version[:] = ["new"]
    async with Harness(app, store) as harness:
        await harness.client.raise_event("c", "Done", "yes")
        status = await ended(harness, "c")
        assert status.runtime_status is Status.FAILED
        assert status.failure.error_type == "bide.errors.NonDeterminismError"
        for words in ("history holds activity 'charge' (#0)", "asked for activity 'ship' (#0)", __file__):
            assert words in status.output
        with pytest.raises(bide.NonDeterminismError):
            await harness.client.rewind("c")
        version[:] = ["old"]
        await harness.client.rewind("c")
        assert (await ended(harness, "c")).output == "yes", "the event that found it out was not lost"


@pytest.mark.parametrize(
    ("name", "expected"), [("timed", Status.FAILED), ("acting", Status.FAILED), ("canceling", Status.RUNNING)]
)
async def test_changed_code_that_no_longer_wants_what_was_begun(name, expected, hour):
    """Its timer does not stay due for ever, its activity does not keep it alive."""
    store, version = MemoryStore(), ["old"]

    @(app := App()).orchestrator
    def timed(context):
        if version == ["new"]:
            yield context.call_activity("endless")
        yield context.create_timer(hour)

    @app.orchestrator
    def acting(context):
        if version == ["new"]:
            yield context.create_timer(hour)
        yield context.call_activity("endless")

    @app.orchestrator
    def canceling(context):
        timer = context.create_timer(hour)
        if version == ["new"]:
            timer.cancel()
        yield context.wait_for_external_event("A")

    @app.activity
    async def endless():
        await asyncio.get_running_loop().create_future()

    async with Harness(app, store) as harness:
        await harness.client.start_new(name, "x")
    version[:] = ["new"]
    async with Harness(app, store) as harness:
        await harness.advance(2 * hour)
        assert (await harness.client.get_status("x")).runtime_status is expected
        assert (await store.due(harness.clock.now(), 9)).instance_ids == []


async def test_a_type_that_was_added_and_does_not_fit_what_came_before():
    """The instance fails; the hub comes up, and serves others."""
    store = MemoryStore()

    def typed(into) -> App:
        @(app := App()).orchestrator
        def payment(context):
            yield context.wait_for_external_event("Pay", into)
            yield context.create_timer(timedelta(hours=1))

        return app

    @dataclass
    class Rate:
        currency: str

        def __post_init__(self):
            raise LookupError

    async with Harness(typed(None), store) as harness:
        await harness.client.start_new("payment", "p")
        await harness.client.raise_event("p", "Pay", {"currency": "XXX"})
    async with Harness(typed(Rate), store) as harness:
        await harness.client.start_new("payment", "other")
        await harness.advance(7200)
        status = await ended(harness, "p")
        assert status.failure.error_type == "bide.errors.NonDeterminismError"
        await harness.assert_waiting_for("other", "Pay")


# Start, restart, versions, retention


async def test_restart_begins_anew_with_the_same_input(open_harness):
    async with open_harness(family()) as harness:
        await harness.client.start_new("child", "c", {"n": 1}, tags={"team": "x"})
        await harness.client.raise_event("c", "Answer", 1)
        await harness.run_until_idle()
        assert await harness.client.restart("c", restart_with_new_instance_id=False) == "c"
        other = await harness.client.restart("c")
        for instance_id in ("c", other):
            status = await harness.client.get_status(instance_id)
            assert (status.input, status.runtime_status, status.tags) == ({"n": 1}, Status.RUNNING, {"team": "x"})


@pytest.mark.parametrize(
    ("policy", "is_live", "outcome"),
    [
        ("replace-ended", True, bide.InstanceExistsError),
        ("replace-ended", False, "replaced"),
        ("replace-any", True, "replaced"),
        ("replace-any", False, "replaced"),
        ("reject", True, bide.InstanceExistsError),
        ("reject", False, bide.InstanceExistsError),
        ("keep", True, "kept"),
        ("keep", False, "replaced"),
    ],
)
async def test_reuse_of_an_instance_id(open_harness, policy, is_live, outcome):
    async with open_harness(family()) as harness:
        await harness.client.start_new("child", "c", "first")
        if not is_live:
            await harness.client.raise_event("c", "Answer", 1)
            await harness.run_until_idle()
        start = harness.client.start_new("child", "c", "second", id_reuse=bide.IdReusePolicy(policy))
        if isinstance(outcome, str):
            await start
        else:
            with pytest.raises(outcome, match="'c'"):
                await start
        expected = "second" if outcome == "replaced" else "first"
        assert (await harness.client.get_status("c")).input == expected


async def test_an_event_for_a_scheduled_instance_is_kept(open_harness, hour):
    """Vector 9: it is delivered after the start, an hour later."""
    async with open_harness(family()) as harness:
        await harness.client.start_new("child", "c", start_at=hour)
        status = await harness.client.get_status("c")
        assert status.runtime_status is Status.PENDING
        await harness.client.raise_event("c", "Answer", "early")
        await harness.advance(timedelta(minutes=59))
        assert (await harness.client.get_status("c")).buffered == {"Answer": 1}
        await harness.advance(timedelta(minutes=1))
        assert (await ended(harness, "c")).output[2] == "early"


async def test_terminate_ends_the_generation_that_an_event_begot(open_harness):
    """Vector 21: the event makes it continue as new, terminate comes in the same batch: Terminated."""

    @(app := App()).orchestrator
    def loop(context):
        yield context.wait_for_external_event("Tick")
        context.continue_as_new()

    async with open_harness(app) as harness:
        await harness.client.start_new("loop", "x")
        partition = harness.hub.partition
        partition.post(RaiseEvent(instance_id="x", name="Tick"))
        partition.post(Terminate(instance_id="x"))
        assert (await ended(harness, "x")).runtime_status is Status.TERMINATED


async def test_versions(open_harness):
    """An instance has the app's version unless it is given one, and a child the app's, not its parent's."""
    app = App(version="7")

    @app.orchestrator
    def parent(context):
        child = yield context.call_sub_orchestrator(tell)
        other = yield context.call_sub_orchestrator(tell, version="3")
        return [context.version, child, other]

    @app.orchestrator
    def tell(context):
        return context.version

    async with open_harness(app) as harness:
        assert (await run(harness, "parent")).output == ["7", "7", "3"]
        instance_id = await harness.client.start_new("tell", version="5")
        assert (await ended(harness, instance_id)).output == "5"


async def test_old_instances_are_removed(open_harness):
    """Retention goes by when an instance ended; a live one stays however old it is."""
    async with open_harness(family()) as harness:
        for instance_id in ("old", "young", "live"):
            await harness.client.start_new("child", instance_id)
        await harness.client.raise_event("old", "Answer", 1)
        with pytest.raises(bide.InstanceNotFoundError):
            await harness.client.raise_event("nobody", "Answer")
        await harness.advance(timedelta(days=6))
        await harness.client.raise_event("young", "Answer", 1)
        await harness.advance(timedelta(days=2))
        await Retention(harness.hub.client, harness.store, harness.clock, timedelta(days=7)).run_once()
        left = [status.instance_id for status in (await harness.client.get_status_by()).items]
        assert sorted(left) == ["live", "young"]
        assert (await harness.client.dead_letters()).items == ()


async def test_one_that_is_started_again_is_not_among_those_that_are_purged(open_harness):
    """`purge_by` found it ended; by the time it is its turn, it lives."""
    async with open_harness(family()) as harness:
        for instance_id in "abc":
            await harness.client.start_new("child", instance_id)
            await harness.client.terminate(instance_id)
        _, removed = await asyncio.gather(harness.client.start_new("child", "b"), harness.client.purge_by())
        left = [status.instance_id for status in (await harness.client.get_status_by()).items]
        assert (removed, left) == (2, ["b"])


async def test_purge_of_parents_in_a_circle(open_harness):
    """One was started again as a child of its own grandchild."""

    @(app := App()).orchestrator
    def link(context):
        yield context.wait_for_external_event("Go")
        yield context.call_sub_orchestrator("link", None, {"a": "b", "b": "c", "c": "a"}[context.instance_id])

    async with open_harness(app) as harness:
        await harness.client.start_new("link", "a")
        for instance_id in "abc":
            await harness.client.raise_event(instance_id, "Go")
            await harness.run_until_idle()
            if instance_id == "b":
                await harness.client.terminate("a")
        assert await harness.client.purge("a", force=True, recursive=True) == 3


# Between instances


async def test_instances_raise_events_to_each_other(open_harness):
    """With the sender's commit, exactly once; an unknown receiver makes a dead letter."""
    app = family()

    @app.orchestrator
    def sender(context):
        context.send_event("the-child", "Answer", [1, 2])
        context.send_event("nobody", "Answer", "lost")
        yield context.create_timer(timedelta(days=1))

    async with open_harness(app) as harness:
        await harness.client.start_new("parent", "p")
        await harness.run_until_idle()
        await harness.client.start_new("sender", "s")
        assert (await ended(harness, "p")).output == ["p", None, [1, 2]]
        [letter] = (await harness.client.dead_letters()).items
        assert (letter.instance_id, letter.data, letter.reason) == ("nobody", "lost", "unknown-instance")


# Code that is not there


async def test_messages_for_code_that_is_not_registered_are_kept():
    """They are stored, also over a restart, and handled when the orchestrator is there again."""
    store, hour = MemoryStore(), timedelta(hours=1)

    @(app := App()).orchestrator
    def gone(context):
        timer = context.create_timer(hour)
        wait = context.wait_for_external_event("A")
        winner = yield context.task_any([wait, timer])
        return winner.result

    async with Harness(app, store) as harness:
        await harness.client.start_new("gone", "g")
    async with Harness(App(), store) as harness:
        assert not (await harness.client.raise_event("g", "A", 5, event_id="e")).is_duplicate
        await harness.advance(2 * hour)
        assert (await harness.client.get_status("g")).runtime_status is Status.RUNNING
    async with Harness(App(), store) as harness:
        await harness.run_until_idle()
    async with Harness(app, store) as harness:
        assert (await ended(harness, "g")).output == 5
        assert (await harness.client.raise_event("g", "A", 5, event_id="e")).is_duplicate


def sleepers(*names: str) -> App:
    app = App()
    for name in names:

        @app.orchestrator(name=name)
        def sleeper(context):
            yield context.create_timer(timedelta(hours=1))

    return app


async def test_timers_of_code_that_is_not_registered_starve_no_others(hour, monkeypatch):
    """There are more of them than are asked of the store at a time."""
    monkeypatch.setattr("bide.runtime.timers._AT_A_TIME", 2)
    store = MemoryStore()
    async with Harness(sleepers("old"), store) as harness:
        for _ in range(5):
            await harness.client.start_new("old")
    async with Harness(sleepers("new"), store) as harness:
        await harness.advance(hour)
        await harness.client.start_new("new", "n")
        await harness.advance(hour)
        assert (await ended(harness, "n")).runtime_status is Status.COMPLETED


async def test_the_timer_of_the_next_one_of_a_stranded_id_fires(hour):
    store = MemoryStore()
    async with Harness(sleepers("old"), store) as harness:
        await harness.client.start_new("old", "s")
    async with Harness(sleepers("new"), store) as harness:
        await harness.advance(hour)
        await harness.client.purge("s", force=True)
        await harness.client.start_new("new", "s")
        await harness.advance(hour)
        assert (await ended(harness, "s")).runtime_status is Status.COMPLETED


async def test_messages_that_were_kept_for_another_one_of_its_id():
    """They do not reach it, also not after a restart; an event among them becomes a dead letter."""
    store = MemoryStore()
    async with Harness(sleepers("old"), store) as harness:
        await harness.client.start_new("old", "s")
    async with Harness(sleepers("new"), store) as harness:
        await harness.client.raise_event("s", "A", 1)
        await harness.client.terminate("s")
        await harness.client.purge("s", force=True)
        await harness.client.start_new("new", "s")
    async with Harness(sleepers("new"), store) as harness:
        await harness.run_until_idle()
        assert (await harness.client.get_status("s")).runtime_status is Status.RUNNING
        [letter] = (await harness.client.dead_letters()).items
        assert (letter.data, letter.reason) == (1, "discarded")


async def test_the_waits_shown_are_those_of_the_code_that_runs():
    """An event was renamed while the instance waited: from its next step on, the new name is shown, since when it waits."""
    store = MemoryStore()

    def version(name: str) -> App:
        @(app := App()).orchestrator
        def waiter(context):
            return (yield context.wait_for_external_event(name))

        return app

    async with Harness(version("Approval"), store) as harness:
        await harness.client.start_new("waiter", "w")
        before = harness.clock.now()
    async with Harness(version("Approved"), store) as harness:
        harness.clock.move_to(before + 1_000_000)
        await harness.client.raise_event("w", "Approval")
        status = await harness.client.get_status("w")
        assert [(wait.name, wait.since) for wait in status.waits] == [("Approved", status.created_time)]
        assert status.buffered == {"Approval": 1}
