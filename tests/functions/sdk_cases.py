"""Cases for `test_sdk.py`: the released azure-functions-durable 1.x, on our engine and with the clock in hand."""

import asyncio
import inspect
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import azure.durable_functions as df
import pytest

from bide.app.registry import RegisteredOrchestrator
from bide.functions import sdk
from bide.functions.durable import http
from bide.functions.function import Function, parse_bindings
from bide.functions.loading import DurableApp
from bide.testing import Harness

pytestmark = pytest.mark.filterwarnings("ignore:azure.functions:DeprecationWarning")


class Host:
    """A durable app and a harness; functions are given plainly."""

    def __init__(self, *, max_resident):
        self.app = DurableApp(is_v1=True, uses_sdk=True)
        http.register(self.app, timedelta(seconds=30))
        self.harness = Harness(self.app, max_resident=max_resident)

    def orchestrator(self, function):
        adapted = sdk.adapt(function.__name__, df.Orchestrator.create(function))
        entry = RegisteredOrchestrator(function.__name__, adapted, newest_wait_first=True)
        self.app._add(self.app._orchestrators, "orchestrator", entry)
        return function

    def activity(self, function):
        name = next(iter(inspect.signature(function).parameters))
        bindings = parse_bindings([{"type": "activityTrigger", "name": name}], "test")
        self.app.add_activity(Function(function.__name__, function, bindings, "test", Path()))
        return function

    def entity(self, function):
        self.app.entity(name=function.__name__)(sdk.adapt_entity(df.Entity.create(function)))
        return function

    async def __aenter__(self):
        await self.harness.__aenter__()
        self.client = self.harness.client
        return self

    async def __aexit__(self, *error):
        await self.harness.__aexit__(*error)

    async def start(self, function, value=None):
        return await self.client.start_new(function.__name__, client_input=value)

    async def run(self, function, value=None):
        return await self.ended(await self.start(function, value))

    async def ended(self, instance_id):
        await self.harness.run_until_idle()
        return await self.client.get_status(instance_id)

    async def send(self, instance_id, *events):
        """Raise events, each in a turn of its own."""
        for name, data in events:
            await self.client.raise_event(instance_id, name, data)
            await self.harness.run_until_idle()


@pytest.fixture(params=[1000, 0], ids=["resident", "evicted"])
def host(request):
    return Host(max_resident=request.param)


def _in(context, **span):
    return context.current_utc_datetime + timedelta(**span)


def test_it_is_the_released_package():
    assert sdk.available() == sdk.require()
    assert "site-packages" in df.__file__ or "dist-packages" in df.__file__


# Events


async def test_one_event(host):
    @host.orchestrator
    def orchestrate(context):
        return {"approved": (yield context.wait_for_external_event("Approval"))}

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.assert_waiting_for(instance_id, "Approval")
        await host.client.raise_event(instance_id, "approval", {"by": "x"})
        assert (await host.ended(instance_id)).output == {"approved": {"by": "x"}}


async def test_an_event_without_data_is_none(host):
    @host.orchestrator
    def orchestrate(context):
        return [(yield context.wait_for_external_event("A"))]

    async with host:
        instance_id = await host.start(orchestrate)
        await host.send(instance_id, ("A", None))
        assert (await host.ended(instance_id)).output == [None]


async def test_any_of_three(host):
    @host.orchestrator
    def orchestrate(context):
        tasks = [context.wait_for_external_event(name) for name in "abc"]
        winner = yield context.task_any(tasks)
        return [tasks.index(winner), winner.result, [task.is_completed for task in tasks]]

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.assert_waiting_for(instance_id, "a", "b", "c")
        await host.send(instance_id, ("other", 0), ("b", 5))
        assert (await host.ended(instance_id)).output == [1, 5, [False, True, False]]


async def test_event_or_timer_and_a_cancelled_timer(host):
    @host.orchestrator
    def orchestrate(context):
        timer = context.create_timer(_in(context, hours=1))
        event = context.wait_for_external_event("go")
        winner = yield context.task_any([event, timer])
        if winner is event:
            timer.cancel()
            yield context.wait_for_external_event("more")
            return [event.result, timer.is_cancelled]
        return "timeout"

    async with host:
        instance_id = await host.start(orchestrate)
        await host.send(instance_id, ("go", {"x": 1}))
        late = await host.start(orchestrate)
        await host.harness.advance(3601)
        assert (await host.ended(late)).output == "timeout"
        history = await host.client.get_history(instance_id)
        assert "TimerFired" not in [type(event).__name__ for event in history]
        await host.send(instance_id, ("more", None))
        assert (await host.ended(instance_id)).output == [{"x": 1}, True]


async def test_three_gates_and_an_activity(host):
    @host.activity
    def combine(values):
        return "+".join(values)

    @host.orchestrator
    def orchestrate(context):
        got = yield context.task_all([context.wait_for_external_event(name) for name in ("One", "Two", "Three")])
        return (yield context.call_activity("combine", got))

    async with host:
        instance_id = await host.start(orchestrate)
        await host.send(instance_id, ("Three", "c"), ("One", "a"))
        await host.harness.assert_waiting_for(instance_id, "Two")
        await host.send(instance_id, ("Two", "b"))
        assert (await host.ended(instance_id)).output == "a+b+c"


async def test_early_events_are_each_used_once_and_in_order(host):
    @host.orchestrator
    def orchestrate(context):
        yield context.create_timer(_in(context, minutes=1))
        got = []
        for _ in range(50):
            got.append((yield context.wait_for_external_event("A")))
        return got

    async with host:
        instance_id = await host.start(orchestrate)
        await host.send(instance_id, *(("A", number) for number in range(49)))
        await host.harness.advance(61)
        await host.harness.assert_waiting_for(instance_id, "A")
        await host.send(instance_id, ("A", 49))
        assert (await host.ended(instance_id)).output == list(range(50))


async def test_the_newest_of_two_waits_of_one_name_gets_the_first_event(host):
    @host.orchestrator
    def orchestrate(context):
        return (yield context.task_all([context.wait_for_external_event("A"), context.wait_for_external_event("A")]))

    async with host:
        instance_id = await host.start(orchestrate)
        await host.send(instance_id, ("A", 1), ("A", 2))
        assert (await host.ended(instance_id)).output == [2, 1]


async def test_waits_that_lost_against_a_timer_take_no_event(host):
    @host.orchestrator
    def orchestrate(context):
        for round_ in range(3):
            event = context.wait_for_external_event("go")
            timer = context.create_timer(_in(context, minutes=1))
            if (yield context.task_any([event, timer])) is event:
                timer.cancel()
                return [round_, event.result]
            yield context.wait_for_external_event("look")  # meanwhile "go" may come, and nobody waits for it
        return None

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.advance(61)
        await host.send(instance_id, ("go", "early"), ("look", None))
        assert (await host.ended(instance_id)).output == [1, "early"]


async def test_an_older_wait_that_is_yielded_again_goes_before_a_newer_one(host):
    @host.orchestrator
    def orchestrate(context):
        first, second = context.wait_for_external_event("A"), context.wait_for_external_event("A")
        for event in (first, second):
            yield context.task_any([event, context.create_timer(_in(context, minutes=1))])
        yield first
        return [first.result, second.is_completed]

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.advance(121)
        await host.send(instance_id, ("A", 1))
        assert (await host.ended(instance_id)).output == [1, False]


async def test_a_wait_that_is_looked_at_takes_its_event(host):
    @host.activity
    def act(_):
        return None

    @host.orchestrator
    def orchestrate(context):
        stop = context.wait_for_external_event("Stop")
        yield context.task_any([stop, context.call_activity("act")])
        yield context.wait_for_external_event("go")
        return [stop.is_completed, stop.result, stop.is_completed]

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.run_until_idle()
        await host.send(instance_id, ("Stop", "now"), ("go", None))
        assert (await host.ended(instance_id)).output == [True, "now", True]


async def test_suspended_instances_take_events_when_resumed(host):
    @host.orchestrator
    def orchestrate(context):
        return [(yield context.wait_for_external_event("A")), (yield context.wait_for_external_event("A"))]

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.run_until_idle()
        await host.client.suspend(instance_id, "")
        await host.send(instance_id, ("A", 1), ("A", 2))
        await host.client.resume(instance_id, "")
        assert (await host.ended(instance_id)).output == [1, 2]


# Activities, sub-orchestrations, timers


async def test_tasks_are_scheduled_when_they_are_yielded(host):
    begun = []

    @host.activity
    def act(name):
        begun.append(name)

    @host.orchestrator
    def orchestrate(context):
        one = context.call_activity("act", "a")
        context.call_activity("act", "b")
        yield one
        yield context.wait_for_external_event("never")

    async with host:
        await host.start(orchestrate)
        await host.harness.run_until_idle()
        assert begun == ["a"]


async def test_fan_out_nested_and_in_call_order(host):
    @host.activity
    def square(number):
        return number * number

    @host.orchestrator
    def orchestrate(context):
        squares = context.task_all([context.call_activity("square", number) for number in range(20)])
        event = context.wait_for_external_event("A")
        results, winner = yield context.task_all([squares, context.task_any([event])])
        return [sum(results), results[3], winner is event]

    async with host:
        instance_id = await host.start(orchestrate)
        await host.send(instance_id, ("A", None))
        assert (await host.ended(instance_id)).output == [2470, 9, True]


@pytest.mark.parametrize("value", [None, 5, "5", "text", {"a": [1]}, [1, 2], True, ""])
async def test_inputs_arrive_as_they_were_given(host, value):
    @host.activity
    def echo(value):
        return value

    @host.orchestrator
    def child(context):
        return context.get_input()

    @host.orchestrator
    def again(context):
        rounds, inner = context.get_input()
        if rounds:
            context.continue_as_new([rounds - 1, inner])
            return None
        return inner

    @host.orchestrator
    def orchestrate(context):
        given = context.get_input()
        passed = yield context.call_activity("echo", given)
        called = yield context.call_sub_orchestrator("child", given)
        looped = yield context.call_sub_orchestrator("again", [2, given])
        return [given, passed, called, looped]

    async with host:
        encoded_by_the_sdks_client = json.dumps(value)
        assert (await host.run(orchestrate, encoded_by_the_sdks_client)).output == [value] * 4
        if value != "5":  # text that is JSON is read once more
            assert (await host.run(child, value)).output == value


class Point:
    def __init__(self, x):
        self.x = x

    @staticmethod
    def to_json(point):
        return json.dumps(point.x)

    @staticmethod
    def from_json(text):
        return Point(json.loads(text))


async def test_custom_classes_travel(host):
    @host.activity
    def move(point):
        return Point(point.x + 1)

    @host.orchestrator
    def orchestrate(context):
        return (yield context.call_activity("move", Point(1))).x

    async with host:
        assert (await host.run(orchestrate)).output == 2


@pytest.mark.parametrize(("fails", "expected"), [(2, 3), (3, "caught")])
async def test_retries(host, fails, expected):
    attempts = []

    @host.activity
    def flaky(value):
        attempts.append(value)
        if len(attempts) <= fails:
            raise ValueError("again")
        return len(attempts)

    @host.orchestrator
    def orchestrate(context):
        try:
            return (yield context.call_activity_with_retry("flaky", df.RetryOptions(5000, 3), {"k": 1}))
        except Exception as error:
            assert str(error).startswith("Activity function 'flaky' failed:  ValueError: again \n ")
            return "caught"

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.advance(9)
        assert len(attempts) == 2
        await host.harness.advance(1)
        assert (await host.ended(instance_id)).output == expected
        assert attempts == [{"k": 1}] * 3


async def test_retries_beside_each_other(host):
    attempts = {}

    @host.activity
    def flaky(name):
        attempts[name] = attempts.get(name, 0) + 1
        if attempts[name] < 3:
            raise ValueError(name)
        return name

    @host.orchestrator
    def orchestrate(context):
        options = df.RetryOptions(1000, 3)
        tasks = [context.call_activity_with_retry("flaky", options, name) for name in "abc"]
        return (yield context.task_all(tasks))

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.advance(3)
        assert (await host.ended(instance_id)).output == ["a", "b", "c"]


async def test_what_cannot_succeed_is_not_tried_again(host):
    @host.orchestrator
    def orchestrate(context):
        yield context.call_activity_with_retry("nobody", df.RetryOptions(1000, 100), None)

    async with host:
        assert "nobody" in (await host.run(orchestrate)).failure.message


async def test_sub_orchestrations(host):
    attempts = []

    @host.orchestrator
    def child(context):
        attempts.append(context.instance_id)
        if len(attempts) < 2:
            raise ValueError("not yet")
        got = yield context.wait_for_external_event("A")
        return [context.get_input(), got, context.parent_instance_id]

    @host.orchestrator
    def orchestrate(context):
        options = df.RetryOptions(1000, 3)
        return (yield context.call_sub_orchestrator_with_retry("child", options, {"a": 1}, "child-1"))

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.advance(2)
        await host.send("child-1", ("A", 2))
        assert (await host.ended(instance_id)).output == [{"a": 1}, 2, instance_id]


async def test_failures_have_the_words_of_azure(host):
    @host.activity
    def boom(_):
        raise ValueError("no luck")

    @host.orchestrator
    def child(context):
        yield context.call_activity("boom")

    @host.orchestrator
    def orchestrate(context):
        try:
            yield context.call_activity("boom", None)
        except Exception as error:
            caught = str(error)
        winner = yield context.task_any([context.call_activity("boom")])
        assert isinstance(winner.result, Exception)
        try:
            yield context.call_sub_orchestrator("child")
        except Exception as error:
            return [caught, str(error)]

    async with host:
        one, two = (await host.run(orchestrate)).output
        assert one.startswith("Activity function 'boom' failed:  ValueError: no luck \n Traceback")
        words = "Orchestrator function 'child' failed: Activity function 'boom' failed:  ValueError: no luck"
        assert two.startswith(words)
        failed = await host.run(child)
        assert failed.runtime_status.label == "Failed"
        assert failed.failure.message.startswith(words)


async def test_one_failure_fails_all_at_once(host):
    @host.activity
    def boom(_):
        raise ValueError("no luck")

    @host.orchestrator
    def orchestrate(context):
        try:
            yield context.task_all([context.wait_for_external_event("A"), context.call_activity("boom")])
        except Exception:
            return (yield context.wait_for_external_event("A"))

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.run_until_idle()
        await host.send(instance_id, ("A", 1))
        assert (await host.ended(instance_id)).output == 1


async def test_a_rewind_tries_the_failed_activity_anew(host):
    is_fine = []

    @host.activity
    def act(_):
        if not is_fine:
            raise ValueError("not yet")
        return 1

    @host.orchestrator
    def orchestrate(context):
        got = yield context.task_all([context.wait_for_external_event("A"), context.call_activity("act")])
        return got

    async with host:
        instance_id = await host.start(orchestrate)
        assert (await host.ended(instance_id)).runtime_status.label == "Failed"
        is_fine.append(True)
        await host.client.rewind(instance_id, "")
        await host.harness.run_until_idle()
        await host.send(instance_id, ("A", 0))
        assert (await host.ended(instance_id)).output == [0, 1]


async def test_what_the_engine_refuses_is_raised_at_the_yield(host):
    @host.orchestrator
    def orchestrate(context):
        try:
            yield context.call_sub_orchestrator("orchestrate", None, context.instance_id)
        except Exception as error:
            return str(error)

    async with host:
        assert "cannot have the id" in (await host.run(orchestrate)).output


@pytest.mark.parametrize("value", [5, None, [1]])
async def test_what_is_not_a_task_fails_at_the_yield(host, value):
    @host.orchestrator
    def orchestrate(context):
        yield value

    async with host:
        failed = await host.run(orchestrate)
        assert failed.runtime_status.label == "Failed"
        assert failed.failure.message.startswith("Orchestrator function 'orchestrate' failed: ")


async def test_a_result_that_is_not_json_fails(host):
    @host.orchestrator
    def orchestrate(context):
        yield context.task_all([])
        return {1, 2}

    async with host:
        assert "failed: " in (await host.run(orchestrate)).failure.message


async def test_a_long_timer_is_one_timer(host):
    @host.orchestrator
    def orchestrate(context):
        yield context.create_timer(_in(context, days=30))
        return context.current_utc_datetime.isoformat()

    async with host:
        instance_id = await host.start(orchestrate)
        await host.harness.advance(timedelta(days=31))
        assert (await host.ended(instance_id)).output == "2024-01-31T12:00:00+00:00"


# Status, generations, the rest of the context


async def test_custom_status_also_when_the_object_is_changed(host):
    @host.orchestrator
    def orchestrate(context):
        status = {"at": "gate", "seen": 0}
        context.set_custom_status(status)
        yield context.wait_for_external_event("A")
        status["seen"] = 1
        yield context.wait_for_external_event("A")

    async with host:
        instance_id = await host.start(orchestrate)
        assert (await host.ended(instance_id)).custom_status == {"at": "gate", "seen": 0}
        await host.send(instance_id, ("A", None))
        assert (await host.ended(instance_id)).custom_status == {"at": "gate", "seen": 1}


async def test_continue_as_new_keeps_events_and_drops_what_comes_after(host):
    begun = []

    @host.activity
    def act(name):
        begun.append(name)

    @host.orchestrator
    def orchestrate(context):
        got = context.get_input() or []
        if len(got) == 3:
            return got
        event = yield context.wait_for_external_event("A")
        context.continue_as_new([*got, event])
        try:
            yield context.call_activity("act", "too late")
        finally:
            begun.append("closed")

    async with host:
        instance_id = await host.start(orchestrate)
        for value in (1, 2, 3):
            await host.client.raise_event(instance_id, "A", value)
        assert (await host.ended(instance_id)).output == [1, 2, 3]
        assert set(begun) == {"closed"}


async def test_functions_that_are_no_generators(host):
    @host.orchestrator
    def plain(context):
        context.set_custom_status("seen")
        return context.get_input()

    @host.orchestrator
    def again(context):
        if context.get_input() < 3:
            context.continue_as_new(context.get_input() + 1)
            return None
        return "done"

    @host.orchestrator
    def bad(context):
        raise ValueError

    async with host:
        status = await host.run(plain, [1])
        assert (status.output, status.custom_status) == ([1], "seen")
        assert (await host.run(again, 0)).output == "done"
        assert (await host.run(bad)).failure.message.startswith("Orchestrator function 'bad' failed: <class")


async def test_uuids_and_times_have_the_sdks_vectors(host):
    @host.orchestrator
    def orchestrate(context):
        early = context.current_utc_datetime.isoformat()
        yield context.wait_for_external_event("A")
        return [
            early,
            context.current_utc_datetime.isoformat(),
            [event.event_type for event in context.histories],
            context.version,
        ]

    @host.orchestrator
    def uuids(context):
        return [context.new_uuid(), context.new_uuid(), str(context.new_guid())]

    async with host:
        host.harness.clock.move_to(int(datetime(2024, 1, 1, 12, 0, 1, tzinfo=UTC).timestamp()) * 1_000_000)
        await host.client.start_new("uuids", "inst1")
        assert (await host.ended("inst1")).output == [
            "bb7b6a0b-8032-57eb-9fef-63db3cfaca8e",
            "e40e8815-d220-5784-8c88-d86e882ccef2",
            "47b86bed-862e-579c-bc33-18d3badf2414",
        ]
        instance_id = await host.start(orchestrate)
        await host.harness.advance(10)
        await host.send(instance_id, ("A", 1))
        early, late, kinds, version = (await host.ended(instance_id)).output
        assert (early, late) == ("2024-01-01T12:00:01+00:00", "2024-01-01T12:00:11+00:00")
        assert (kinds[:2], 15 in kinds, version) == ([12, 0], True, None)


async def test_decorated_functions_can_be_called(host):
    app = df.DFApp()

    @app.activity_trigger(input_name="name")
    def greet(name):
        return f"Hello {name}"

    @app.orchestration_trigger(context_name="context")
    def orchestrate(context):
        return (yield context.call_activity(greet, "you"))

    handles = {each.get_function_name(): each.get_user_function() for each in app.get_functions()}
    host.activity(handles["greet"])
    entry = RegisteredOrchestrator("orchestrate", sdk.adapt("orchestrate", handles["orchestrate"]))
    host.app._add(host.app._orchestrators, "orchestrator", entry)
    async with host:
        instance_id = await host.client.start_new("orchestrate")
        assert (await host.ended(instance_id)).output == "Hello you"


async def test_call_http(host):
    async def answer(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = head.splitlines()[0].encode()
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    @host.orchestrator
    def orchestrate(context):
        answer = yield context.call_http("POST", context.get_input(), {"a": 1})
        try:
            token = df.ManagedIdentityTokenSource("https://x")
            yield context.call_http("GET", context.get_input(), token_source=token)
        except Exception as error:
            return [answer["statusCode"], answer["content"], "get one in an activity" in str(error)]

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, host:
        instance_id = await host.start(orchestrate, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/start")
        while (status := await host.ended(instance_id)).output is None:
            await asyncio.sleep(0.01)
        assert status.output == [404, "POST /start HTTP/1.1", True]


# Entities


async def test_entities_are_signalled_and_called_in_order(host):
    @host.entity
    def counter(context):
        state = context.get_state(lambda: 0)
        match context.operation_name:
            case "add":
                context.set_state(state + context.get_input())
            case "get":
                context.set_result([context.entity_name, context.entity_key, state])
            case "fail":
                context.set_state(-1)
                raise ValueError("no")
            case "remove":
                context.destruct_on_exit()

    @host.orchestrator
    def orchestrate(context):
        entity = df.EntityId("Counter", "K")
        for number in (1, 2):
            context.signal_entity(entity, "add", number)
        yield context.signal_entity(entity, "add", 4)
        first = yield context.call_entity(entity, "get")
        try:
            yield context.call_entity(entity, "fail")
        except Exception as error:
            failure = str(error)
        second = yield context.call_entity(entity, "get")
        nothing = yield context.call_entity(entity, "remove")
        return [first, failure, second, nothing]

    async with host:
        same = ["counter", "K", 7]
        assert (await host.run(orchestrate)).output == [same, "no", same, None]
        assert await host.client.get_entity("@counter@K") is None


@pytest.mark.parametrize("value", [None, 5, "5", "text", {"a": [1]}, [1, 2], True, ""])
async def test_inputs_of_entities_arrive_as_they_were_given(host, value):
    @host.entity
    def echo(context):
        context.set_result(context.get_input())

    @host.orchestrator
    def orchestrate(context):
        return [(yield context.call_entity(df.EntityId("echo", "a"), "op", value))]

    async with host:
        assert (await host.run(orchestrate)).output == [value]
