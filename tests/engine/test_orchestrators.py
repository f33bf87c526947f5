"""What orchestrators and activities may do, what they get, and what they are told when they break a rule."""

import asyncio
import enum
import threading
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypedDict

import msgspec
import pydantic
import pytest

import bide
from bide import App
from bide import OrchestrationRuntimeStatus as Status
from bide.testing import Harness


async def ended(harness: Harness, instance_id: str) -> bide.OrchestrationStatus:
    await harness.run_until_idle()
    status = await harness.client.get_status(instance_id)
    assert status.runtime_status.is_ended, status
    return status


async def run(harness: Harness, function, value=None) -> bide.OrchestrationStatus:
    return await ended(harness, await harness.client.start_new(function, client_input=value))


# Typed payloads


class Color(enum.Enum):
    RED = "red"


class Order(TypedDict):
    item: str
    count: int


@dataclass
class Decision:
    approved: bool
    by: str = "nobody"


class Payment(msgspec.Struct):
    amount: float
    on: date


class Address(pydantic.BaseModel):
    street: str
    number: int = pydantic.Field(gt=0)


@dataclass
class Price:
    """Its check raises something else than a ValueError."""

    currency: str

    def __post_init__(self):
        {"EUR": 1}[self.currency]


@pytest.mark.parametrize(
    ("into", "sent", "received"),
    [
        (bool, True, True),
        (int, 3, 3),
        (str, "x", "x"),
        (list[int], [1, 2], [1, 2]),
        (int | None, None, None),
        (Color, Color.RED, Color.RED),
        (Order, {"item": "tea", "count": 2}, {"item": "tea", "count": 2}),
        (Decision, Decision(approved=True), Decision(approved=True)),
        (Payment, Payment(1.5, date(2026, 1, 31)), Payment(1.5, date(2026, 1, 31))),
        (datetime, datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC)),
        (Address, Address(street="High", number=1), Address(street="High", number=1)),
    ],
)
async def test_typed_events(open_harness, into, sent, received):
    """Data is converted to the type of the wait: builtins, dataclasses, Structs, TypedDicts, enums, pydantic models."""
    got = []

    @(app := App()).orchestrator
    def typed(context):
        got.append((yield context.wait_for_external_event("A", into)))

    async with open_harness(app) as harness:
        await harness.client.start_new("typed", "t")
        [wait] = (await harness.client.waits()).items
        assert wait.type is not None
        await harness.client.raise_event("t", "A", sent)
        await ended(harness, "t")
        assert got == [received]


@pytest.mark.parametrize(
    ("into", "sent", "reason"),
    [
        (int, "three", "Expected `int`, got `str`"),
        (Decision, {"approved": "maybe"}, "$.approved"),
        (Decision, None, "null"),
        (Address, {"street": "High", "number": -1}, "greater than 0"),
        (Price, {"currency": "XXX"}, "'XXX'"),
        (dict | Price, {"currency": "EUR"}, "more than one"),
    ],
)
async def test_data_that_does_not_fit(open_harness, into, sent, reason):
    """EventPayloadError at the yield tells what and where; it can be caught, and the wait done again."""

    @(app := App()).orchestrator
    def strict(context):
        try:
            yield context.wait_for_external_event("A", into)
        except bide.EventPayloadError as error:
            again = yield context.wait_for_external_event("A")
            return [error.event_name, error.reason, again]

    async with open_harness(app) as harness:
        await harness.client.start_new("strict", "s")
        await harness.client.raise_event("s", "A", sent)
        await harness.client.raise_event("s", "A", "second")
        name, text, again = (await ended(harness, "s")).output
        assert (name, again) == ("A", "second")
        assert reason in text


async def test_typed_input_and_results(open_harness):
    """`get_input(type)`, an activity's annotated argument and its annotated result."""

    @(app := App()).orchestrator
    def flow(context):
        decision = context.get_input(Decision)
        payment = yield context.call_activity(pay, decision)
        assert isinstance(payment, Payment)
        return [decision.by, payment.amount]

    @app.activity
    def pay(decision: Decision) -> Payment:
        assert isinstance(decision, Decision)
        return Payment(9.5, date(2026, 1, 1))

    async with open_harness(app) as harness:
        assert (await run(harness, flow, Decision(approved=True, by="me"))).output == ["me", 9.5]
        status = await run(harness, flow, {"approved": "perhaps"})
        assert "$.approved" in status.output


# Timeouts, timers, composites


async def test_timeouts(open_harness, hour):
    """Without default TimeoutError is raised at the yield, with one it is the result, and an event in time beats both."""

    @(app := App()).orchestrator
    def patient(context):
        results = [(yield context.wait_for_external_event("A", timeout=hour, default="nothing"))]
        try:
            yield context.wait_for_external_event("A", timeout=3600)
        except TimeoutError as error:
            results.append(str(error))
        results.append((yield context.wait_for_external_event("A", int, timeout=hour)))
        return [*results, (context.current_utc_datetime - started).total_seconds() / 3600]

    async with open_harness(app) as harness:
        started = datetime(2024, 1, 1, 12, tzinfo=UTC)
        await harness.client.start_new("patient", "p")
        assert (await harness.client.get_status("p")).waits[0].deadline == started + hour
        await harness.advance(2.5 * hour)
        await harness.client.raise_event("p", "A", 3)
        assert (await ended(harness, "p")).output == ["nothing", "No event 'A' arrived in time", 3, 2.5]


@pytest.mark.parametrize("span", [timedelta(days=-1), timedelta(0), timedelta(days=10_000)])
async def test_timers_of_any_length(open_harness, span):
    @(app := App()).orchestrator
    def sleeper(context):
        yield context.create_timer(context.current_utc_datetime + span)
        return context.current_utc_datetime.isoformat()

    async with open_harness(app) as harness:
        await harness.client.start_new("sleeper", "s")
        await harness.advance(max(span, timedelta(0)))
        expected = datetime(2024, 1, 1, 12, tzinfo=UTC) + max(span, timedelta(0))
        assert (await ended(harness, "s")).output == expected.isoformat()


@pytest.mark.parametrize("span", [timedelta.max, timedelta(days=4_000_000)])
async def test_times_later_than_a_datetime_can_say(open_harness, span):
    """They come in the year 9999: nobody's status becomes unreadable."""

    @(app := App()).orchestrator
    def patient(context):
        wait = context.wait_for_external_event("A", timeout=span, default=None)
        yield context.task_any([wait, context.create_timer(span)])

    async with open_harness(app) as harness:
        await harness.client.start_new("patient", "p")
        [wait] = (await harness.client.get_status("p")).waits
        assert wait.deadline == datetime.max.replace(tzinfo=UTC)
        assert (await harness.client.waits()).items == (wait,)


async def test_a_cancelled_timer_does_not_fire(open_harness, hour):
    @(app := App()).orchestrator
    def approval(context):
        timer = context.create_timer(hour)
        wait = context.wait_for_external_event("A")
        winner = yield context.task_any([wait, timer])
        assert winner == wait
        timer.cancel()
        yield context.wait_for_external_event("B")
        return timer.is_canceled

    async with open_harness(app) as harness:
        await harness.client.start_new("approval", "a")
        await harness.client.raise_event("a", "A")
        await harness.advance(2 * hour)
        await harness.assert_waiting_for("a", "B")
        kinds = [entry.event.event_type for entry in await harness.client.get_history("a")]
        assert "TimerFired" not in kinds
        await harness.client.raise_event("a", "B")
        assert (await ended(harness, "a")).output is True


async def test_composites_hold_composites(open_harness):
    """A quorum of two out of three, from any and all; one task sits in several of them."""

    @(app := App()).orchestrator
    def quorum(context):
        a, b, c = (context.wait_for_external_event(name) for name in "ABC")
        pairs = [context.task_all(pair) for pair in ((a, b), (b, c), (a, c))]
        winner = yield context.task_any(pairs)
        again = yield winner
        return [pairs.index(winner), again, a.is_completed]

    async with open_harness(app) as harness:
        await harness.client.start_new("quorum", "q")
        await harness.assert_waiting_for("q", "A", "B", "C")
        await harness.client.raise_event("q", "C", 3)
        await harness.client.raise_event("q", "B", 2)
        assert (await ended(harness, "q")).output == [1, [2, 3], False]


async def test_all_fails_with_its_first_failure(open_harness):
    @(app := App()).orchestrator
    def gather(context):
        try:
            yield context.task_all([context.wait_for_external_event("never"), context.call_activity(fail)])
        except bide.TaskFailedError as error:
            return error.message

    @app.activity
    async def fail():
        raise ValueError("no")

    async with open_harness(app) as harness:
        assert (await run(harness, gather)).output == "no"


async def test_a_cancelled_wait_takes_no_event(open_harness):
    @(app := App()).orchestrator
    def two(context):
        first, second = context.wait_for_external_event("A"), context.wait_for_external_event("A")
        first.cancel()
        return (yield second)

    async with open_harness(app) as harness:
        await harness.client.start_new("two", "t")
        await harness.client.raise_event("t", "A", 1)
        assert (await ended(harness, "t")).output == 1


# Kinds of functions


async def test_coroutines_and_generators_do_the_same(open_harness, hour):
    """`await` instead of `yield`, also through helpers; `yield from` through helper generators."""

    @(app := App()).orchestrator
    async def coroutine(context):
        first, _ = await both(context), await context.create_timer(hour)
        return [first, await context.call_activity(double, 21)]

    async def both(context):
        return await context.task_all([context.wait_for_external_event(name) for name in "AB"])

    @app.orchestrator
    def generator(context):
        first = yield from gen_both(context)
        yield context.create_timer(hour)
        return [first, (yield context.call_activity("double", 21))]

    def gen_both(context):
        return (yield context.task_all([context.wait_for_external_event(name) for name in "AB"]))

    @app.activity
    def double(value: int) -> int:
        return 2 * value

    async with open_harness(app) as harness:
        for name in ("coroutine", "generator"):
            await harness.client.start_new(name, name)
            await harness.client.raise_event(name, "B", 2)
            await harness.client.raise_event(name, "A", 1)
            await harness.advance(hour)
            assert (await ended(harness, name)).output == [[1, 2], 42]


async def test_an_orchestrator_may_return_without_waiting(open_harness):
    @(app := App()).orchestrator
    def at_once(context):
        return context.get_input()

    async with open_harness(app) as harness:
        assert (await run(harness, at_once, [1])).output == [1]


async def test_names_can_be_chosen_and_grouped(open_harness):
    """Decorators take a name, blueprints are registered with an app, functions and names are interchangeable."""
    blueprint, app = bide.Blueprint(), App()

    @blueprint.activity(name="shout")
    def say(value: str) -> str:
        return value.upper()

    @blueprint.orchestrator(name="greet")
    def hello(context):
        return [(yield context.call_activity(say, "a")), (yield context.call_activity("shout", "b"))]

    app.register_blueprint(blueprint)
    async with open_harness(app) as harness:
        assert (await run(harness, hello)).output == ["A", "B"]
        assert (await run(harness, "greet")).name == "greet"


async def test_is_replaying_tells_new_from_old():
    """A resident instance never replays; one that was dropped replays up to where it was."""
    said = []

    @(app := App()).orchestrator
    def chatty(context):
        for name in "AB":
            said.append((name, context.is_replaying))
            yield context.wait_for_external_event(name)
        said.append(("end", context.is_replaying))

    async with Harness(app) as harness:
        await harness.client.start_new("chatty", "c")
        await harness.client.raise_event("c", "A")
        assert harness.hub.partition.evict("c")
        await harness.client.raise_event("c", "B")
        await ended(harness, "c")
    assert said == [("A", False), ("B", False), ("A", True), ("B", True), ("end", False)]


async def test_dropping_an_instance_runs_its_clean_up_without_effect():
    """`finally` runs when the generator is closed, and what it then asks for is refused; nothing reaches history."""
    refusals = []

    @(app := App()).orchestrator
    def tidy(context):
        try:
            yield context.wait_for_external_event("A")
        finally:
            try:
                context.call_activity("nothing")
            except bide.OrchestratorContractError as error:
                refusals.append(str(error))

    @app.activity
    async def nothing(): ...

    async with Harness(app) as harness:
        await harness.client.start_new("tidy", "t")
        before = await harness.client.get_history("t")
        assert harness.hub.partition.evict("t")
        assert refusals == ["The execution of 't' is over."]
        assert await harness.client.get_history("t") == before


# Activities


async def test_plain_activities_run_on_threads_at_the_same_time():
    """As many as `activity_threads` allows; the loop is free meanwhile."""
    barrier, names = threading.Barrier(3, timeout=20), []

    @(app := App()).orchestrator
    def fan(context):
        return sum((yield context.task_all([context.call_activity(meet, n) for n in range(3)])))

    @app.activity
    def meet(value: int) -> int:
        names.append(threading.current_thread().name)
        barrier.wait()
        return value

    async with bide.Hub(app, "memory:", activity_threads=3) as hub:
        status = await hub.client.wait_for_completion(await hub.client.start_new(fan), timeout=20)
    assert status.output == 3
    assert len(set(names)) == 3


async def test_what_has_not_begun_when_the_hub_closes_does_not_begin():
    """An activity that waits for a thread is left to the next start; the one that runs ends."""
    begun, may_end, threads = threading.Event(), threading.Event(), []
    calls = []

    @(app := App()).orchestrator
    def fan(context):
        yield context.task_all([context.call_activity(block, n) for n in range(3)])

    @app.activity
    def block(value: int) -> None:
        calls.append(value)
        threads.append(threading.current_thread())
        begun.set()
        may_end.wait(20)

    async with bide.Hub(app, "memory:", activity_threads=1) as hub:
        await hub.client.start_new(fan)
        await asyncio.to_thread(begun.wait, 20)
    may_end.set()
    threads[0].join(20)
    assert calls == [0]


async def test_a_system_without_threads(open_harness, monkeypatch):
    """The activities run when there is a thread again; one that could not be started does not count as one."""

    @(app := App()).orchestrator
    def caller(context):
        return (yield context.call_activity(plain))

    @app.activity
    def plain():
        return 1

    def refuse(_):
        raise RuntimeError("can't start new thread")

    async with open_harness(app, activity_threads=1) as harness:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            await harness.client.start_new("caller", "one")
            await harness.client.start_new("caller", "two")
        await harness.client.start_new("caller", "three")
        for instance_id in ("one", "two", "three"):
            assert (await harness.client.wait_for_completion(instance_id, timeout=5)).output == 1


@pytest.mark.parametrize(
    ("activity", "error_type", "words"),
    [
        ("raises", "ValueError", "no such card"),
        ("exits", "SystemExit", "3"),
        ("unserializable", "bide.errors.PayloadNotSerializableError", "The result of activity 'unserializable'"),
        ("huge", "bide.errors.PayloadTooLargeError", "limit of 1,048,576"),
        ("typed", "msgspec.ValidationError", "Expected `int`"),
        ("missing", "ActivityNotFoundError", "'missing'"),
    ],
)
async def test_activities_that_fail(open_harness, activity, error_type, words):
    """Whatever happens in one, the orchestrator gets a TaskFailedError with type, text and traceback."""

    @(app := App()).orchestrator
    def caller(context):
        try:
            yield context.call_activity(activity, "x")
        except bide.TaskFailedError as error:
            return [error.task_name, error.error_type, error.message, error.stack_trace]

    @app.activity
    async def raises(_):
        raise ValueError("no such card")

    @app.activity
    def exits(_):
        raise SystemExit(3)

    @app.activity
    def unserializable(_):
        return object()

    @app.activity
    def huge(_):
        return "x" * (1 << 20)

    @app.activity
    def typed(value: int): ...

    async with open_harness(app) as harness:
        name, kind, message, trace = (await run(harness, caller)).output
        assert (name, kind) == (activity, error_type)
        assert words in message
        if activity == "raises":
            assert "raise ValueError" in trace
            assert "bide/runtime" not in trace


@pytest.mark.parametrize(
    ("into", "error_type"), [(int, "msgspec.ValidationError"), (Price, "KeyError"), (dict | Price, "TypeError")]
)
async def test_a_result_that_does_not_fit(open_harness, into, error_type):
    """Whatever the type's own checks raise."""

    @(app := App()).orchestrator
    def caller(context):
        try:
            yield context.call_activity(price)
        except bide.TaskFailedError as error:
            return [error.error_type, error.message]

    @app.activity
    async def price() -> into:
        return {"currency": "XXX"}

    async with open_harness(app) as harness:
        kind, message = (await run(harness, caller)).output
        assert kind == error_type
        assert "does not fit" in message


async def test_an_activity_that_raises_no_exception(open_harness):
    """A coroutine's BaseException fails its task like any other; it never ended."""

    class StopNow(BaseException): ...

    @(app := App()).orchestrator
    def caller(context):
        yield context.call_activity(stop)

    @app.activity
    async def stop():
        raise StopNow("now")

    async with open_harness(app) as harness:
        instance_id = await harness.client.start_new(caller)
        assert "now" in (await harness.client.wait_for_completion(instance_id, timeout=5)).output


class WithoutTextError(Exception):
    """Its text cannot be made."""

    def __str__(self):
        raise RuntimeError


def circular() -> Exception:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    return first


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("no file named \ud800\0"), "no file named \\ud800\0"),
        (WithoutTextError(), "<WithoutTextError whose text cannot be made>"),
        (circular(), "first"),
    ],
)
async def test_errors_that_are_hard_to_tell(open_harness, error, message):
    """File names that are not UTF-8, a `__str__` that raises, causes that go in a circle: the failure is stored."""

    @(app := App()).orchestrator
    def caller(context):
        yield context.call_activity(fail)

    @app.activity
    async def fail():
        raise error

    async with open_harness(app) as harness:
        status = await run(harness, caller)
        assert status.runtime_status is Status.FAILED
        assert status.output.endswith(message)


# Breaking the rules


@pytest.mark.parametrize("value", [None, 3, "x", asyncio.sleep])
async def test_yielding_something_else_than_a_task(open_harness, value):
    """The error is raised at the yield, names what was yielded, and says what to do."""

    @(app := App()).orchestrator
    def confused(context):
        yield value

    async with open_harness(app) as harness:
        status = await run(harness, confused)
        assert status.runtime_status is Status.FAILED
        assert f"got {type(value).__qualname__}" in status.output
        assert "activity" in status.output


async def test_awaiting_asyncio_in_an_orchestrator(open_harness):
    @(app := App()).orchestrator
    async def impatient(context):
        await asyncio.get_running_loop().create_future()

    async with open_harness(app) as harness:
        status = await run(harness, impatient)
        assert status.runtime_status is Status.FAILED
        assert "only yield or await durable tasks" in status.output


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), RecursionError("deep")])
async def test_whatever_an_orchestrator_raises_fails_only_itself(open_harness, error):
    @(app := App()).orchestrator
    def wild(context):
        yield context.wait_for_external_event("A")
        raise error

    async with open_harness(app) as harness:
        for instance_id in ("one", "two"):
            await harness.client.start_new("wild", instance_id)
        await harness.client.raise_event("one", "A")
        assert (await ended(harness, "one")).failure.error_type.endswith(type(error).__name__)
        await harness.assert_waiting_for("two", "A")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda c: c.wait_for_external_event(""), bide.InvalidIdError, "name"),
        (lambda c: c.wait_for_external_event("A", default=1), bide.InvalidInputError, "no timeout"),
        (lambda c: c.task_any([1]), bide.InvalidInputError, "int"),
        (lambda c: c.call_activity(lambda: 0), bide.InvalidInputError, "not registered"),
        (lambda c: c.call_activity("a", object()), bide.PayloadNotSerializableError, "activity 'a'"),
        (lambda c: c.call_sub_orchestrator("o", None, c.instance_id), bide.InvalidIdError, "caller"),
        (lambda c: c.wait_for_external_event("A").result, bide.OrchestratorContractError, "no result yet"),
        (lambda c: c.call_activity("a").cancel(), bide.OrchestratorContractError, "cannot be cancelled"),
        (lambda c: c.set_custom_status(object()), bide.PayloadNotSerializableError, "custom status"),
        (lambda c: c.create_timer("soon"), bide.InvalidInputError, "'soon'"),
    ],
)
async def test_calls_that_can_never_work(open_harness, call, error, words):
    """They raise where they are called, and leave nothing behind."""
    caught = []

    @(app := App()).orchestrator
    def wrong(context):
        try:
            call(context)
        except error as refusal:
            caught.append(str(refusal))
        yield context.create_timer(timedelta(0))

    async with open_harness(app) as harness:
        status = await run(harness, wrong)
        assert status.runtime_status is Status.COMPLETED, status.output
        assert words in caught[0]


async def test_an_orchestrator_that_blocks_is_named(caplog):
    """A warning tells which orchestrator held up the others, and for how long."""

    @(app := App()).orchestrator
    def sleepy(context):
        time.sleep(0.3)  # what it must not do
        yield context.wait_for_external_event("A")

    async with Harness(app) as harness:
        await harness.client.start_new("sleepy", "s")
    assert "orchestrator 'sleepy' held up all others for 0.3 s in 's'" in caplog.text
