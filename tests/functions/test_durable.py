"""The context, tasks and client of SDK 1.x and 2.x over the engine, in one process and with the clock in hand."""

import asyncio
import inspect
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import azure.functions as func
import pytest

import bide
from bide.functions import durable
from bide.functions.durable import bridge, http
from bide.functions.function import Function, parse_bindings
from bide.functions.loading import DurableApp
from bide.testing import Harness

durable.install()
import azure.durable_functions as df  # noqa: E402


class Point:
    def __init__(self, x):
        self.x = x

    @staticmethod
    def to_json(point):
        return json.dumps(point.x)

    @staticmethod
    def from_json(text):
        return Point(json.loads(text))


class Host:
    """A durable app and a harness; functions are given plainly."""

    def __init__(self, *, is_v1, max_resident=1000):
        self.app = DurableApp(is_v1=is_v1)
        http.register(self.app, timedelta(seconds=30))
        self.is_v1 = is_v1
        self.harness = Harness(self.app, max_resident=max_resident)

    def orchestrator(self, function):
        self.app.add_orchestrator(_function(function, "orchestrationTrigger"))
        return function

    def activity(self, function):
        self.app.add_activity(_function(function, "activityTrigger"))
        return function

    async def __aenter__(self):
        await self.harness.__aenter__()
        self.app.bridge = bridge.Bridge(
            lambda: self.harness.client,
            hub_name="Hub",
            origin="http://localhost:7071",
            key=lambda: None,
            is_v1=self.is_v1,
        )
        bridge.connect(self.app.bridge)
        self.client = df.DurableOrchestrationClient("{}")
        return self

    async def __aexit__(self, *error):
        bridge.connect(None)
        await self.harness.__aexit__(*error)

    async def run(self, function, value=None):
        instance_id = await self.client.start_new(function, client_input=value)
        return await self.ended(instance_id)

    async def ended(self, instance_id):
        await self.harness.run_until_idle()
        return await self.client.get_status(instance_id)


def _function(function, trigger):
    name = next(iter(inspect.signature(function).parameters))
    bindings = parse_bindings([{"type": trigger, "name": name}], "test")
    return Function(function.__name__, function, bindings, "test", Path())


@pytest.fixture(params=["v1", "v2"])
def version(request):
    return request.param


@pytest.fixture(params=[1000, 0], ids=["resident", "evicted"])
def host(request, version):
    return Host(is_v1=version == "v1", max_resident=request.param)


async def test_what_a_task_offers_to_either_sdk(host):
    @host.orchestrator
    def orchestrate(context):
        task = context.wait_for_external_event("A")
        before = [task.is_completed, task.is_complete, task.result]
        yield task
        return [*before, task.is_completed, task.is_complete, task.is_failed, task.result, task.get_result()]

    async with host:
        instance_id = await host.client.start_new("ORCHESTRATE")
        await host.harness.client.raise_event(instance_id, "a", 7)
        assert (await host.ended(instance_id)).output == [False, False, None, True, True, False, 7, 7]


async def test_event_or_timer_and_a_cancelled_timer(host):
    @host.orchestrator
    def orchestrate(context):
        timer = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
        event = context.wait_for_external_event("go")
        winner = yield context.task_any([event, timer])
        if winner is event:
            timer.cancel()
            return [event.result, timer.is_cancelled]
        return "timeout"

    async with host:
        instance_id = await host.client.start_new("orchestrate")
        assert await host.client.start_new("orchestrate", "late") == "late"
        await host.harness.client.raise_event(instance_id, "go", {"x": 1})
        assert (await host.ended(instance_id)).output == [{"x": 1}, True]
        await host.harness.advance(3601)
        assert (await host.ended("late")).output == "timeout"


@pytest.mark.parametrize(("version", "expected"), [("v1", [2, 1]), ("v2", [1, 2])], indirect=["version"])
async def test_which_of_two_waits_of_one_name_gets_the_first_event(host, expected):
    @host.orchestrator
    def orchestrate(context):
        return (yield context.task_all([context.wait_for_external_event("A"), context.wait_for_external_event("A")]))

    async with host:
        instance_id = await host.client.start_new("orchestrate")
        for value in (1, 2):
            await host.harness.client.raise_event(instance_id, "A", value)
            await host.harness.run_until_idle()
        assert (await host.ended(instance_id)).output == expected


async def test_early_events_are_each_used_once(host):
    @host.orchestrator
    def orchestrate(context):
        yield context.create_timer(context.current_utc_datetime + timedelta(minutes=1))
        first = yield context.wait_for_external_event("A")
        second = yield context.wait_for_external_event("A")
        return [first, second]

    async with host:
        instance_id = await host.client.start_new("orchestrate")
        for value in (1, 2):
            await host.harness.client.raise_event(instance_id, "A", value)
        await host.harness.advance(61)
        assert (await host.ended(instance_id)).output == [1, 2]


@pytest.mark.parametrize(("version", "expected"), [("v1", ["a"]), ("v2", ["a", "b"])], indirect=["version"])
async def test_when_a_task_is_scheduled(host, expected):
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
        await host.client.start_new("orchestrate")
        await host.harness.run_until_idle()
        assert sorted(begun) == expected


@pytest.mark.parametrize(
    ("version", "value", "expected"),
    [
        ("v1", True, "true"),
        ("v1", {"a": 1}, '{"a": 1}'),
        ("v1", "x", '"x"'),
        ("v2", True, True),
        ("v2", {"a": 1}, {"a": 1}),
        ("v2", "x", "x"),
    ],
    indirect=["version"],
)
async def test_events_of_the_client_are_encoded_twice_by_1x(host, value, expected):
    @host.orchestrator
    def orchestrate(context):
        return (yield context.wait_for_external_event("A"))

    async with host:
        instance_id = await host.client.start_new("orchestrate")
        await host.client.raise_event(instance_id, "A", value)
        assert (await host.ended(instance_id)).output == expected


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
        assert (await host.run("orchestrate", value)).output == [value] * 4
        by_http = await host.harness.client.start_new("child", client_input=value)
        await host.harness.run_until_idle()
        if value != "5":  # with 1.x rules text that is JSON is read once more
            assert (await host.ended(by_http)).output == value


async def test_the_private_text_of_the_input(host):
    @host.orchestrator
    def orchestrate(context):
        return json.loads(context._input)

    async with host:
        assert (await host.run("orchestrate", {"a": 1})).output == {"a": 1}
        instance_id = await host.harness.client.start_new("orchestrate", client_input={"a": 2})
        assert (await host.ended(instance_id)).output == {"a": 2}


@pytest.mark.filterwarnings("ignore:azure.functions:DeprecationWarning")
async def test_custom_classes_travel(host):
    @host.activity
    def move(point):
        return Point(point.x + 1)

    @host.orchestrator
    def orchestrate(context):
        point = yield context.call_activity("move", Point(1))
        return point.x

    async with host:
        assert (await host.run("orchestrate")).output == 2


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
        any_ = yield context.task_any([context.call_activity("boom")])
        assert any_.is_failed
        try:
            yield context.call_sub_orchestrator("child")
        except Exception as error:
            return [caught, str(error)]

    async with host:
        one, two = (await host.run("orchestrate")).output
        assert one.startswith("Activity function 'boom' failed:  ValueError: no luck \n Traceback")
        assert two.startswith(
            "Orchestrator function 'child' failed: Activity function 'boom' failed:  ValueError: no luck"
        )
        failed = await host.run("child")
        assert failed.runtime_status is df.OrchestrationRuntimeStatus.Failed
        assert failed.output.startswith("Orchestrator function 'child' failed: Activity function 'boom' failed")


async def test_retries(host):
    attempts = []

    @host.activity
    def flaky(_):
        attempts.append(1)
        if len(attempts) < 3:
            raise ValueError("again")
        return len(attempts)

    @host.orchestrator
    def orchestrate(context):
        return (yield context.call_activity_with_retry("flaky", df.RetryOptions(5000, 3), None))

    async with host:
        instance_id = await host.client.start_new("orchestrate")
        await host.harness.advance(11)
        assert (await host.ended(instance_id)).output == 3
    with pytest.raises(ValueError, match="greater than 0"):
        df.RetryOptions(0, 3)


async def test_compounds_nest_and_may_be_empty(host):
    @host.orchestrator
    def orchestrate(context):
        a, b, c = (context.wait_for_external_event(name) for name in "abc")
        both = context.task_all([a, context.task_any([b, c])])
        one, winner = yield both
        nothing = yield context.task_all([])
        nobody = yield context.task_any([])
        return [one, winner is c, nothing, nobody, len(both.completed_tasks), both.pending_tasks]

    async with host:
        instance_id = await host.client.start_new("orchestrate")
        for name in "ca":
            await host.harness.client.raise_event(instance_id, name, name)
        assert (await host.ended(instance_id)).output == ["a", True, [], None, 2, []]


async def test_what_is_not_a_task_fails_at_the_yield(host):
    @host.orchestrator
    def orchestrate(context):
        yield [context.wait_for_external_event("A")]

    async with host:
        failed = await host.run("orchestrate")
        assert "may only yield durable tasks, but got list" in failed.output


async def test_uuids_have_the_sdks_vectors(host):
    @host.orchestrator
    def orchestrate(context):
        return [context.new_uuid(), context.new_uuid(), str(context.new_guid())]
        yield

    async with host:
        host.harness.clock.move_to(int(datetime(2024, 1, 1, 12, 0, 1, tzinfo=UTC).timestamp()) * 1_000_000)
        await host.client.start_new("orchestrate", "inst1")
        assert (await host.ended("inst1")).output == [
            "bb7b6a0b-8032-57eb-9fef-63db3cfaca8e",
            "e40e8815-d220-5784-8c88-d86e882ccef2",
            "47b86bed-862e-579c-bc33-18d3badf2414",
        ]


async def test_the_clients_answers_to_what_is_not_there(host):
    async with host:
        assert not await host.client.get_status("nobody")
        with pytest.raises(Exception, match="No instance with ID nobody found"):
            await host.client.raise_event("nobody", "A")
        with pytest.raises(Exception, match="No instance with ID 'nobody' found"):
            await host.client.terminate("nobody", "why")
        with pytest.raises(ValueError, match="non-empty"):
            await host.client.raise_event("nobody", "")
        assert (await host.client.purge_instance_history("nobody")).instances_deleted == 0


async def test_the_life_of_an_instance_through_the_client(host):
    @host.orchestrator
    def orchestrate(context):
        context.set_custom_status({"at": "gate"})
        yield context.wait_for_external_event("A")

    async with host:
        client = host.client
        await client.start_new(orchestrate, "x")
        await host.harness.run_until_idle()
        assert (await client.get_status("x")).custom_status == {"at": "gate"}
        await client.suspend("x", "pause")
        assert (await client.get_status("x")).runtime_status is df.OrchestrationRuntimeStatus.Suspended
        await client.resume("x", "go")
        await client.terminate("x", "enough")
        status = await client.get_status("x", show_history=True, show_history_output=True)
        assert status.output == "enough"
        assert [row["EventType"] for row in status.historyEvents][-1] == "ExecutionTerminated"
        await client.terminate("x", "again")  # ended already: passed over
        with pytest.raises(Exception, match="gone"):
            await client.raise_event("x", "A")
        assert await client.restart("x", restart_with_new_instance_id=False) == "x"
        await client.terminate("x", "")
        assert [status.instance_id for status in await client.get_status_all()] == ["x"]
        assert (await client.purge_instance_history_by(runtime_status=["Terminated"])).instances_deleted == 1


async def test_waiting_for_completion_in_a_request(host, version):
    @host.orchestrator
    def fine(_):
        return {"a": 1}

    @host.orchestrator
    def bad(_):
        raise ValueError("no")

    @host.orchestrator
    def slow(context):
        yield context.wait_for_external_event("A")

    request = func.HttpRequest("GET", "https://example.test/api/x", body=b"")
    async with host:
        answers = {}
        for name in ("fine", "bad", "slow"):
            instance_id = await host.client.start_new(name)
            answers[name] = await host.client.wait_for_completion_or_create_check_status_response(
                request, instance_id, 50, 10
            )
    assert [answers[name].status_code for name in answers] == [200, 500 if version == "v1" else 200, 202]
    assert json.loads(answers["fine"].get_body()) == {"a": 1}
    assert (
        answers["slow"].headers["Location"].startswith("https://example.test/runtime/webhooks/durabletask/instances/")
    )


async def test_urls_of_an_instance(host):
    async with host:
        payload = host.client.create_http_management_payload("x")
        assert payload == host.client.create_http_management_payload(None, "x")
        assert payload["sendEventPostUri"].startswith(
            "http://localhost:7071/runtime/webhooks/durabletask/instances/x/raiseEvent/{eventName}?"
        )


async def test_a_managed_identity_is_refused_with_a_way_out(host):
    @host.orchestrator
    def orchestrate(context):
        yield context.call_http("GET", "http://localhost", token_source=df.ManagedIdentityTokenSource("https://x"))

    async with host:
        assert "get one in an activity" in (await host.run("orchestrate")).output


async def test_call_http_polls_while_the_answer_is_202(host):
    seen = []

    async def answer(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(head.splitlines()[0])
        if head.startswith("POST"):
            body = b"HTTP/1.1 202 Accepted\r\nLocation: /status\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
        else:
            body = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnever"
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    @host.orchestrator
    def orchestrate(context):
        answer = yield context.call_http("POST", f"http://127.0.0.1:{port}/start", {"a": 1})
        return [answer["statusCode"], answer.status_code, answer.content]

    async with server, host:
        instance_id = await host.client.start_new("orchestrate")
        while len(seen) < 1:
            await asyncio.sleep(0.01)
        await host.harness.run_until_idle()
        assert len(seen) == 1
        await host.harness.advance(7)
        while not await _has_ended(host, instance_id):
            await asyncio.sleep(0.01)
        assert (await host.ended(instance_id)).output == [404, 404, "never"]
    assert seen == ["POST /start HTTP/1.1", "GET /status HTTP/1.1"]


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("http://a.example/status", {"Authorization", "X"}),
        ("http://a.example:81/status", {"X"}),
        ("https://a.example/status", {"X"}),
        ("http://b.example/status", {"X"}),
    ],
)
def test_call_http_takes_no_credentials_elsewhere(location, kept):
    """A poll follows the answer's Location; a function's key goes nowhere else."""
    headers = {"Authorization": "Bearer x", "X": "y", "X-Functions-Key": "k"}
    assert set(http.headers_for(location, "http://a.example/start", headers)) == kept


async def _has_ended(host, instance_id):
    await host.harness.run_until_idle()
    return (await host.client.get_status(instance_id)).output is not None


def test_paths_that_apps_import_from():
    from azure.durable_functions.constants import DEFAULT_LOCAL_HOST  # noqa: F401
    from azure.durable_functions.models import DurableOrchestrationStatus  # noqa: F401
    from azure.durable_functions.models.DurableOrchestrationClient import DurableOrchestrationClient
    from azure.durable_functions.models.OrchestrationRuntimeStatus import OrchestrationRuntimeStatus  # noqa: F401
    from azure.durable_functions.models.Task import AtomicTask, TaskBase, TaskState, TimerTask  # noqa: F401
    from azure.durable_functions.models.utils.entity_utils import EntityId

    assert DurableOrchestrationClient is df.DurableOrchestrationClient
    assert str(EntityId("Counter", "K")) == "@counter@K"
    assert EntityId.get_entity_id("@counter@a@b") == EntityId("counter", "a@b")
    with pytest.raises(bide.errors.HubClosedError, match="bide serve"):
        DurableOrchestrationClient("{}")
