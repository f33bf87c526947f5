"""Requests of any shape, as an ASGI server could pass them on, to the API and to a hosted app."""

import contextlib
import logging
from pathlib import Path

import azure.functions as func
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.budget import tries
from tests.http.conftest import app
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE

from bide.client.paths import BASE
from bide.functions.asgi import FunctionsAsgi
from bide.functions.function import Binding, Function
from bide.functions.host import FunctionHost
from bide.functions.loading import DurableApp, FunctionApp
from bide.functions.settings import Settings
from bide.http.routes import ROUTES, create_app
from bide.hub import Hub
from bide.testing import Harness

WORDS = ["g1", "gate", "counter", "a", "q", "Approval", "locker", "@counter@a"]
raw = st.binary(max_size=12)
ODD = rb"""% %zz %00 %0d%0aset-cookie:x %ff %ed%a0%80 .. %2e%2e%2f ' ";DROP%20TABLE%20instances;-- %F0%9F%98%80 %27%20OR%201=1
    {x} @ @counter@ $ + &code=x %2F %23 %5C ~ %u0041 1e999 -1 0x10""".split()
odd = st.sampled_from([*ODD, b"", b"\xff\xfe", b"a" * 10_000])
pieces = odd | raw | st.sampled_from([word.encode() for word in WORDS])


@st.composite
def paths(draw):
    """A path of the table with odd values in its places, or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return b"/" + draw(raw)
    route = draw(st.sampled_from(ROUTES))
    parts = [draw(pieces) if part[0] == "{" else part.encode() for part in route.path.split("/")]
    return b"/".join([BASE.encode(), *parts, *draw(st.lists(pieces, max_size=1))])


PARAMETERS = sorted({name for route in ROUTES for name in route.parameters} - {"waitForCompletion"} | {"code", "x"})
NUMBERS = rb"""1e308 1e999 nan -0 1_0 0001-01-01T00:00:00+23:59 9999-12-31T23:59:59-23:59 %D9%A3 %C2%B2 true 0 1
    {"a":1} {"a":"\ud800"} 2024-01-01 20240101T000000Z""".split()
NUMBERS += [b"9" * 5000, b"[" * 5000]
queries = st.lists(
    st.tuples(st.sampled_from([name.encode() for name in PARAMETERS]) | raw, st.sampled_from(NUMBERS) | pieces).map(
        b"=".join
    ),
    max_size=4,
).map(b"&".join)
NAMES = (
    b"host content-type content-length x-functions-key x-ms-continuation-token idempotency-key origin expect x".split()
)
VALUES = b"application/json APPLICATION/json;charset=x text/plain localhost 0 1.2.3 \0".split()
headers = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from([*VALUES, b"9" * 30, b"a\r\nb: c", b"\xff"]) | raw), max_size=4
)

SMALL = rb"""null NaN Infinity -Infinity 1e999 -1e-999 -0 18446744073709551616 "\ud800" "\udc00\ud800" {"\ud800":1} "\u0000"
    {"a":1,"a":2} {"":{"":1}} { [1,] 'a' tru [1]// 1,2""".split()
LARGE = [b"1" * 5000, b"0.1" + b"1" * 2000, b"[" * 300 + b"]" * 300, b"[" * 255 + b"]" * 255, b"[" * 100_000]
LARGE += [b'{"a":' * 2000 + b"1" + b"}" * 2000, b'"' + b"x" * 300_000 + b'"', b"[" + b"0," * 50_000 + b"0]"]
BYTES = [b"", b" ", b"\xef\xbb\xbf1", b'"\xff"', b'"\xed\xa0\x80"', b"\x00", b'"a\x00"', b'"a\nb"', b"1 2"]
json_texts = st.sampled_from(SMALL + LARGE + BYTES) | st.binary(max_size=30)


async def ask(api, method, path, query, header, chunks):
    """Send one request; status and body. What goes back is what uvicorn would take."""
    sent = []
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter([*messages, {"type": "http.disconnect"}])

    async def receive():
        return next(waiting)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "raw_path": path,
        "query_string": query,
        "headers": header,
        "scheme": "http",
    }
    await api(scope, receive, send)
    [start, body] = sent
    for name, value in start["headers"]:
        assert HEADER_RE.search(name) is None
        assert HEADER_VALUE_RE.search(value) is None, (name, value)
    assert 200 <= start["status"] < 600
    return start["status"], body["body"]


class Errors(logging.Handler):
    def __init__(self):
        super().__init__(logging.ERROR)
        self.records = []

    def emit(self, record):
        self.records.append(self.format(record))


@contextlib.contextmanager
def no_error_is_logged():
    errors = Errors()
    logging.getLogger("bide").addHandler(errors)
    try:
        yield
    finally:
        logging.getLogger("bide").removeHandler(errors)
    assert not errors.records, errors.records[0]


methods = st.sampled_from(["GET", "POST", "DELETE", "POST", "PUT", "HEAD", "OPTIONS", "get", "", "BREW"])
LOCAL = (b"host", b"localhost"), (b"content-type", b"application/json")


async def look_around(api):
    """Whatever was accepted can be shown."""
    for path in (
        b"/instances?showHistory=true",
        b"/waits",
        b"/deadLetters",
        b"/entities?fetchState=true",
        b"/queues",
        b"/queues/q/messages",
    ):
        below, _, query = path.partition(b"?")
        status, body = await ask(api, "GET", BASE.encode() + below, query, LOCAL, [])
        assert status == 200, body


requests = st.tuples(methods, paths(), queries, headers, st.lists(json_texts, max_size=2))


@tries(150)
@given(st.lists(requests, min_size=1, max_size=5))
async def test_no_request_is_too_much(calls):
    """Nothing is a 5xx, nothing is logged as an error, and the hub works after."""
    async with Harness(app) as harness:
        api = create_app(lambda: harness.client)
        with no_error_is_logged():
            await harness.client.start_new("gate", "g1")
            for method, path, query, header, chunks in calls:
                status, body = await ask(api, method, path, query, [*LOCAL, *header], chunks)
                assert status < 500, (method, path, query, header, body)
            await harness.run_until_idle()
            await look_around(api)
        await harness.client.start_new("gate", "after")
        await harness.client.raise_event("after", "Approval", 1)
        assert (await harness.client.wait_for_completion("after", timeout=10)).output == 1


@tries(100)
@given(st.lists(json_texts, min_size=1, max_size=6))
async def test_a_payload_that_is_not_refused_can_be_shown(texts):
    """As input, event, entity's operation and queue message; and what an instance returns of it can be shown."""
    async with Harness(app) as harness:
        api = create_app(lambda: harness.client)
        with no_error_is_logged():
            for number, text in enumerate(texts):
                base = BASE.encode()
                for path in (b"/orchestrators/gate/%d", b"/instances/%d/raiseEvent/Approval", b"/entities/counter/%d"):
                    status, body = await ask(api, "POST", base + path % number, b"op=add", LOCAL, [text])
                    assert status in {202, 400, 404, 413}, body
                status, body = await ask(api, "POST", base + b"/queues/q/messages", b"", LOCAL, [text])
                assert status in {201, 400, 413}
                await harness.run_until_idle()
                for path in (b"/instances/%d", b"/instances/%d/history", b"/entities/counter/%d"):
                    status, body = await ask(
                        api, "GET", base + path % number, b"showHistory=true&showHistoryOutput=true", LOCAL, []
                    )
                    assert status in {200, 202, 404}, body
            await look_around(api)


# A hosted app


def call(name, answer, **trigger):
    values = {"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous", **trigger}
    bindings = (
        Binding("req", "httptrigger", "in", values),
        Binding("$return", "http", "out", {"type": "http", "name": "$return"}),
    )
    return Function(name, answer, bindings, name, Path())


def echo(req: func.HttpRequest):
    """Use everything that there is of the request."""
    with contextlib.suppress(ValueError):
        req.get_json()
    assert isinstance(req.url + "".join([*req.params.values(), *req.route_params.values(), *req.headers.values()]), str)
    return func.HttpResponse(req.get_body())


def odd_answer(req: func.HttpRequest):
    return func.HttpResponse(
        b"x",
        status_code=int(req.params.get("status", 200)),
        headers={req.params.get("name", "x"): req.params.get("value", "")},
    )


FUNCTIONS = [
    call("echo", echo, route="echo/{number:int?}"),
    call("rest", echo, route="rest/{*rest}"),
    call("guid", echo, route="guid/{id:guid}/{when:datetime=now}"),
    call("odd", odd_answer, route="odd"),
]


@contextlib.asynccontextmanager
async def hosted():
    durable = DurableApp(is_v1=False)
    loaded = FunctionApp(Settings(Path()), durable, FUNCTIONS, threads=2)
    hub = Hub(durable, "memory:")
    host = FunctionHost(loaded, hub, origin="http://localhost")
    async with host, hub, host.triggers():
        yield FunctionsAsgi(host, hub.asgi(), hub.asgi(opens=lambda _: True)), host


@st.composite
def app_paths(draw):
    folder = draw(st.sampled_from([b"/api/echo", b"/api/rest", b"/API/guid", b"/api", b"/durabletask", b""]))
    return b"/".join([folder, *draw(st.lists(pieces, max_size=3))]) or b"/"


@tries(40)
@given(st.lists(st.tuples(methods, app_paths(), queries, headers, st.lists(raw, max_size=2)), min_size=1, max_size=8))
async def test_no_request_is_too_much_for_a_hosted_app(calls):
    async with hosted() as (api, _):
        for method, path, query, header, chunks in calls:
            status, body = await ask(api, method, path, query, [LOCAL[0], *header], chunks)
            assert status < 500, (method, path, query, header, body)
        status, body = await ask(api, "POST", b"/api/echo/1", b"", LOCAL, [b"{}"])
        assert (status, body) == (200, b"{}")


@pytest.mark.parametrize(
    "query",
    [b"value=a%0d%0aset-cookie:b", b"name=a%0d%0ab", b"name=a:b", b"value=%00", b"status=99", b"status=1000", b"status=-1",
     b"name=content-length&value=7", b"name=content-length&value=x", b"name=transfer-encoding&value=chunked"],
)  # fmt: skip
async def test_what_no_answer_can_carry_is_an_error_of_the_function(query):
    """A line break in a header could begin another answer; a wrong length takes the next one's bytes."""
    async with hosted() as (api, _):
        status, body = await ask(api, "GET", b"/api/odd", query, LOCAL, [])
        assert (status, body) == ((200, b"x") if b"name=content" in query or b"name=transfer" in query else (500, b""))
