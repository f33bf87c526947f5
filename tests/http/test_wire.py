"""What goes over the wire, as Durable Functions' clients expect it."""

from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.http.conftest import app

import bide
from bide.client.paths import BASE
from bide.http.routes import ROUTES, create_app
from bide.testing import Harness

JSON = {"content-type": "application/json"}
WORDS = ["instances", "g1", "raiseEvent", "orchestrators", "gate", "entities", "counter"]


async def test_a_start_answers_with_the_management_urls(http):
    """202, Location, Retry-After 10 and a body whose URLs work."""
    answer = await http.post("orchestrators/gate/g1", content='{"a":1}', headers=JSON)
    body = answer.json()
    assert (answer.status_code, answer.headers["retry-after"], body["id"]) == (202, "10", "g1")
    assert answer.headers["location"] == body["statusQueryGetUri"]
    assert (await http.get(body["statusQueryGetUri"])).json()["input"] == {"a": 1}


async def test_a_hub_that_is_too_busy_answers_429():
    """With Retry-After, and the same error for our own client; nothing is stored."""
    async with Harness(app, max_backlog=0) as harness:
        transport = httpx.ASGITransport(create_app(lambda: harness.client))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://localhost{BASE}/") as http:
            answer = await http.post("orchestrators/gate/g1")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "wait for the hub already" in answer.json()["ExceptionMessage"]
        async with bide.connect("http://localhost", transport=transport) as remote:
            with pytest.raises(bide.HubBusyError):
                await remote.start_new("gate", "g1")
        assert (await harness.client.get_status_by()).items == ()


async def test_the_status_of_a_running_and_of_an_ended_instance(http):
    """202 with Retry-After 5 while it runs, 200 with the output when it has completed."""
    await http.post("orchestrators/gate/g1")
    running = await http.get("instances/g1")
    assert (running.status_code, running.headers["retry-after"]) == (202, "5")
    assert [wait["name"] for wait in running.json()["waits"]] == ["Approval"]
    await http.post("instances/g1/raiseEvent/Approval", content="true", headers=JSON)
    ended = await http.get("instances/g1?waitForCompletion=5")
    assert (ended.status_code, ended.json()["output"], ended.json()["runtimeStatus"]) == (200, True, "Completed")


@pytest.mark.parametrize(
    ("path", "content", "headers", "code"),
    [
        ("instances/nobody/raiseEvent/A", "true", JSON, 404),
        ("instances/nobody/raiseEvent/A", "{bad", JSON, 404),
        ("instances/g1/raiseEvent/Approval", "{bad", JSON, 400),
        ("instances/g1/raiseEvent/Approval", "true", {"content-type": "text/plain"}, 400),
        ("instances/g1/raiseEvent/Approval", "true", {"content-type": "application/json; charset=utf-8"}, 202),
        ("instances/g1/raiseEvent/Approval", b'"\xff"', JSON, 400),
        ("instances/g1/raiseEvent/Approval", "", {}, 202),
        ("Instances/g1/RAISEEVENT/Approval", "true", JSON, 202),
        ("instances/g1/raiseEvent/Approval&code=XXX", "true", JSON, 202),
        ("instances/g1/raiseEvent/a%2Fb", "true", JSON, 202),
        ("instances/g1/raiseEvent/Approval", '"' + "x" * 2_000_000 + '"', JSON, 413),
        ("instances/g1/raiseEvent/Approval", "[" * 256 + "]" * 256, JSON, 202),
        ("instances/g1/raiseEvent/Approval", "[" * 257 + "]" * 257, JSON, 400),
        ("instances/g1/raiseEvent/Approval", '"' + "[" * 1000 + '"', JSON, 202),
        ("orchestrators/gate/g1", "", {}, 409),
        ("orchestrators/nobody", "", {}, 400),
        ("orchestrators/gate/@entity", "", {}, 400),
        ("instances/g1/nonsense", "", {}, 404),
        ("instances/g1/rewind", "", {}, 412),
        ("instances/nobody/restart", "", {}, 400),
        ("instances/g1/suspend?reason=a+b", "", {}, 202),
        ("instances/nobody/terminate", "", {}, 404),
    ],
)
async def test_answers(http, path, content, headers, code):
    """The status codes of the extension; where its versions differ, those of docs/http-api.md."""
    await http.post("orchestrators/gate/g1")
    answer = await http.post(path, content=content, headers=headers)
    assert answer.status_code == code, answer.text
    if answer.content:
        body = answer.json()
        assert code == 202 or (body["Message"] and body["ExceptionMessage"])


@pytest.mark.parametrize("sent", [b"", b"12"])
async def test_a_client_that_goes_away_has_raised_nothing(http, harness, sent):
    """Part of a body may be JSON too."""
    await http.post("orchestrators/gate/g1")
    messages = iter([{"type": "http.request", "body": sent, "more_body": True}, {"type": "http.disconnect"}])
    path = "/runtime/webhooks/durabletask/instances/g1/raiseEvent/Approval"
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]

    async def receive():
        return next(messages)

    async def send(_): ...

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await create_app(lambda: harness.client)(scope, receive, send)
    await harness.assert_waiting_for("g1", "Approval")


async def test_no_long_poll_begins_while_the_server_stops(harness):
    """It would hold the server up until the end of its patience."""
    api = create_app(lambda: harness.client)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url=f"http://localhost{BASE}") as http:
        await http.post("/orchestrators/gate/g1")
        api.stop_waiting()
        assert (await http.get("/instances/g1?waitForCompletion=55")).status_code == 202


async def test_an_ended_instance_is_gone(http):
    """410 with an empty body for raise and terminate."""
    await http.post("orchestrators/gate/g1")
    await http.post("instances/g1/terminate?reason=enough")
    for path in ("raiseEvent/Approval", "terminate", "suspend"):
        answer = await http.post(f"instances/g1/{path}", content="1", headers=JSON)
        assert (answer.status_code, answer.content) == (410, b"")
    assert (await http.get("instances/g1")).json()["output"] == "enough"


@pytest.mark.parametrize(
    ("path", "content", "headers", "code"),
    [
        ("queues/q/messages", "text", {}, 201),
        ("queues/q/messages", '{"a": 1}', JSON, 201),
        ("Queues/q/Messages?delay=1.5", "", {}, 201),
        ("queues/q/messages?delay=soon", "text", {}, 400),
        ("queues/q/messages?delay=-1", "text", {}, 400),
        ("queues/q/messages", b"\xff", {}, 400),
        ("queues/q/messages", b"\x00", {}, 400),
        ("queues/%20/messages", "text", {}, 400),
        ("queues/q/messages", "x" * 1_048_600, {}, 413),
        ("queues/q", "text", {}, 404),
    ],
)
async def test_sending_to_a_queue(http, path, content, headers, code):
    """The body is the message, whatever its type."""
    answer = await http.post(path, content=content, headers=headers)
    assert answer.status_code == code, answer.text
    bodies = [message["body"] for message in (await http.get("queues/q/messages")).json()]
    assert bodies == ([content] if code == 201 else [])


@pytest.mark.parametrize("how", ["query", "header"])
async def test_a_duplicate_is_answered_like_the_first_and_says_so(http, how):
    """202 twice; the second has the header x-bide-duplicate."""
    await http.post("orchestrators/gate/g1")
    query, headers = ("?eventId=e1", JSON) if how == "query" else ("", JSON | {"Idempotency-Key": "e1"})
    answers = [await http.post(f"instances/g1/raiseEvent/X{query}", content="1", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.headers.get("x-bide-duplicate") for answer in answers] == [None, "true"]


async def test_a_failed_instance(http, harness):
    """200 by default, 500 when asked for; the failure tells type and message."""
    await http.post("orchestrators/failing/f1")
    await harness.run_until_idle()
    answer = await http.get("instances/f1")
    assert (answer.status_code, answer.json()["failure"]["errorType"]) == (200, "bide.errors.TaskFailedError")
    assert (await http.get("instances/f1?returnInternalServerErrorOnFailure=true")).status_code == 500


async def test_history_rows_are_folded(http, harness):
    """The scheduling of an activity is folded into its result, as the extension does."""
    await http.post("orchestrators/gate/g1")
    await http.post("instances/g1/raiseEvent/Approval", content="1", headers=JSON)
    await harness.run_until_idle()
    rows = (await http.get("instances/g1?showHistory=true&showHistoryOutput=true")).json()["historyEvents"]
    kinds = [row["EventType"] for row in rows]
    assert kinds == ["ExecutionStarted", "EventRaised", "TaskCompleted", "ExecutionCompleted"]
    assert (rows[2]["FunctionName"], rows[2]["Result"]) == ("echo", 1)


async def test_the_state_of_an_entity(http, harness):
    """The state alone; 404 when there is none; a signal is answered 202 without a body."""
    assert (await http.get("entities/counter/a")).status_code == 404
    answer = await http.post("entities/Counter/a?op=add", content="5", headers=JSON)
    assert (answer.status_code, answer.content) == (202, b"")
    await http.post("entities/counter/a?op=add", content="5")
    await http.post("entities/counter/a")
    await harness.run_until_idle()
    answer = await http.get("entities/COUNTER/a")
    assert (answer.status_code, answer.json()) == (200, [5, "5", None])
    assert (await http.delete("entities/counter/a")).status_code == 202
    await harness.run_until_idle()
    assert (await http.get("entities/counter/a")).status_code == 404
    assert (await http.get("entities")).json() == []


@pytest.mark.parametrize(
    ("path", "content", "code"),
    [
        ("entities/counter/a?op=add", "{bad", 400),
        ("entities/counter/$?op=add", "1", 400),
        ("entities/counter/%24?op=add", "1", 400),
        ("entities/c@unter/a?op=add", "1", 400),
        ("entities/counter/a%2Fb?op=add", "1", 400),
        ("entities/counter/a@b?op=add", "1", 202),
        ("entities/conter/a?op=add", "1", 400),
        ("entities/counter/a?op=add&scheduledTime=soon", "1", 400),
        ("entities/counter/a?op=add&scheduledTime=2999-01-01T00:00:00Z", "1", 202),
        ("entities/counter?op=add", "1", 404),
    ],
)
async def test_answers_to_signals(http, path, content, code):
    answer = await http.post(path, content=content, headers=JSON)
    assert answer.status_code == code, answer.text
    assert code != 400 or answer.json()["Message"]


async def test_lists_of_entities(http, harness):
    """Newest first, by name and time, with states when asked for; the extension's keys and ours."""
    for key in "ab":
        await http.post(f"entities/counter/{key}?op=add", content="1", headers=JSON)
        await harness.advance(3600)
    [second, first] = (await http.get("entities/counter?fetchState=true")).json()
    assert (first["entityId"], first["state"]) == ({"name": "counter", "key": "a"}, [1])
    assert (first["lockedBy"], first["backlog"]) == (None, 0)
    assert [each["state"] for each in (await http.get("entities")).json()] == [None, None]
    late = await http.get("entities", params={"lastOperationTimeFrom": second["lastOperationTime"]})
    assert [each["entityId"]["key"] for each in late.json()] == ["b"]
    page = await http.get("entities?top=1")
    token = {"x-ms-continuation-token": page.headers["x-ms-continuation-token"]}
    assert [each["entityId"]["key"] for each in (await http.get("entities?top=1", headers=token)).json()] == ["a"]
    assert (await http.get("entities/nobody")).json() == []


async def test_history_of_entities_is_folded(http, harness):
    await http.post("orchestrators/locker/l1")
    await harness.run_until_idle()
    rows = (await http.get("instances/l1?showHistory=true")).json()["historyEvents"]
    assert [row["EventType"] for row in rows][1:] == [
        "EntityOperationSignaled", "EntityLockRequested", "EntityLockGranted", "EntityOperationCompleted",
    ]  # fmt: skip
    assert rows[1]["ScheduledAt"].startswith("2024-01-01T13:00:00")
    assert rows[-1]["FunctionName"] == "look"


async def test_lists_go_by_pages(http):
    """`top` and the continuation header; the last page has an empty token."""
    for number in range(5):
        await http.post(f"orchestrators/gate/g{number}")
    seen, token = [], ""
    while True:
        answer = await http.get("instances?top=2", headers={"x-ms-continuation-token": token} if token else {})
        seen += [item["instanceId"] for item in answer.json()]
        token = answer.headers["x-ms-continuation-token"]
        if not token:
            break
    assert seen == ["g4", "g3", "g2", "g1", "g0"]


async def test_a_key_is_needed_where_one_is_set(harness):
    """401 without, 202 with the key in query or header; /healthz is open."""
    transport = httpx.ASGITransport(create_app(lambda: harness.client, key="secret"))
    async with httpx.AsyncClient(transport=transport, base_url="http://example.org") as http:
        base = "/runtime/webhooks/durabletask/orchestrators/gate"
        without, wrong = await http.post(base), await http.post(f"{base}?code=wrong")
        assert (without.status_code, wrong.status_code) == (401, 401)
        assert "A key is needed" in without.json()["Message"]
        assert wrong.json()["Message"] == "The key is wrong."
        assert (await http.post(f"{base}?code=secret")).status_code == 202
        assert (await http.post(base, headers={"x-functions-key": "secret"})).status_code == 202
        assert (await http.get("/healthz")).json() == {"status": "ok"}


async def test_health_tells_no_details(tmp_path):
    """It is open to all: where the store is, and what it lacks, is not for everybody."""
    async with bide.Hub(bide.App(), f"sqlite:///{tmp_path}/secret.db") as hub:
        api = hub.asgi(key="secret")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://example.org") as http:
        answer = await http.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})


async def test_every_route_is_described(http):
    """The OpenAPI document is made of the table of routes."""
    paths = (await http.get("http://localhost/openapi.json")).json()["paths"]
    described = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert described == {(route.method, f"/runtime/webhooks/durabletask/{route.path}") for route in ROUTES}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
    segments=st.lists(
        st.one_of(
            st.sampled_from(WORDS),
            st.text(max_size=30),
        )
    ),
    query=st.dictionaries(
        st.sampled_from(["top", "runtimeStatus", "createdTimeFrom", "timeout", "tags", "op", "scheduledTime"]),
        st.text(max_size=20),
    ),
    body=st.binary(max_size=50),
    token=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)
async def test_no_request_breaks_the_server(http, method, segments, query, body, token):
    """Whatever is sent, the answer is not a 5xx."""
    path = "/".join(quote(segment, safe="") for segment in segments)
    headers = JSON | ({"x-ms-continuation-token": token} if token else {})
    answer = await http.request(
        method, f"http://localhost/runtime/webhooks/durabletask/{path}", params=query, content=body, headers=headers
    )
    assert answer.status_code < 500, answer.text
