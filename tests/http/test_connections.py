"""What a client may take of the server: time, memory, connections. Bytes on sockets, against the server of `bide serve`."""

import asyncio
import contextlib
import logging
import socket

import pytest
from tests.http.serving import request, served

from bide.http.access_log import without_keys
from bide.http.connections import MAX_HEAD_BYTES, Connection, Limits, possible

IMPATIENT = Limits(seconds=0.2)
RAISE = request("POST", "instances/g1/raiseEvent/Approval", body=b"true")
HEAD, BODY = RAISE[:-4], RAISE[-4:]
ALIVE = request("GET", "instances", close=False)
BIG = b"x" * 200_000

SLOW = {
    "says nothing": (b"", b"", None),
    "sends empty lines": (b"", b"\r\n", None),
    "stops in the first line": (b"POST /runt", b"", 408),
    "stops in a header": (HEAD[:-20], b"", 408),
    "dribbles headers": (b"GET / HTTP/1.1\r\nhost: localhost\r\n", b"a: b\r\n", 408),
    "dribbles one header": (b"GET / HTTP/1.1\r\nx: ", b"x", 408),
    "sends no body": (HEAD, b"", 408),
    "stops in the body": (HEAD + b"tr", b"", 408),
    "dribbles a body": (HEAD.replace(b"length: 4", b"length: 999999"), b" ", 408),
    "dribbles chunks": (HEAD.replace(b"content-length: 4", b"transfer-encoding: chunked"), b"1\r\n \r\n", 408),
    "stops in the second head": (ALIVE + b"GET ", b"", 408),
    "never ends a body that nobody reads": (request("PUT", "x", "content-length: 9", close=False), b"", None),
    "dribbles a body that nobody reads": (request("PUT", "x", "content-length: 9999", close=False), b" ", None),
}


async def dribble(writer: asyncio.StreamWriter, drop: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        while drop:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.05)


async def test_clients_that_are_too_slow_are_closed():
    """With 408 where a request has begun and nothing is answered yet; others are served meanwhile."""

    async def suffer(server, first, drop):
        reader, writer = await server.connect()
        with contextlib.closing(writer):
            dribbling = asyncio.create_task(dribble(writer, drop))
            came = await server.exchange(reader, writer, first)
            dribbling.cancel()
            return came

    async with served(IMPATIENT) as server:
        await server.hub.client.start_new("gate", "g1")
        tries = [asyncio.create_task(suffer(server, first, drop)) for first, drop, _ in SLOW.values()]
        assert (await server.ask(ALIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))).startswith(
            b"HTTP/1.1 200"
        )
        for (name, (_, _, status)), came in zip(SLOW.items(), await asyncio.gather(*tries), strict=True):
            last = came.rpartition(b"HTTP/1.1 ")[2]
            if status is None:
                assert not came or last.startswith(b"404"), (name, came)
            else:
                assert last.startswith(b"%d " % status), (name, came)
                assert b'"ExceptionMessage"' in last
        assert not (await server.hub.client.get_status("g1")).buffered


async def test_a_body_that_flows_may_take_its_time():
    """And what the server itself takes time for is no fault of the client."""
    async with served(Limits(seconds=1.0)) as server:
        await server.hub.client.start_new("gate", "g1")
        waiting = asyncio.create_task(server.ask(request("GET", "instances/g1?waitForCompletion=20")))
        reader, writer = await server.connect()
        with contextlib.closing(writer):
            writer.write(request("POST", "orchestrators/gate/big", f"content-length: {len(BIG) + 2}"))
            for part in (b'"', BIG[:100_000], BIG[100_000:]):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.8)  # a slow line, not a wait
            assert (await server.exchange(reader, writer, b'"')).startswith(b"HTTP/1.1 202")
        await server.hub.client.raise_event("g1", "Approval", 1)
        assert (await waiting).startswith(b"HTTP/1.1 200")


def get(*headers):
    return request("GET", "instances", *headers)


@pytest.mark.parametrize(
    "sent",
    [
        [get("x: " + "x" * MAX_HEAD_BYTES)],
        [get(*(f"x{number}: {'x' * 100}" for number in range(1000)))],
        [request("GET", "instances?x=" + "x" * MAX_HEAD_BYTES)],
        [b"GET / HTTP/1.1\r\nx: ", *[b"x" * 1000] * 100],
        [b"GET /", *[b"x" * 1000] * 100],
        [b"GET / HTTP/1.1\r\n", *[b"x: y\r\n"] * 20_000],
    ],
    ids=["a header", "many headers", "a path", "an endless header", "an endless path", "endless headers"],
)
async def test_a_head_that_is_too_large_is_answered_431(sent):
    async with served() as server:
        answer = await server.ask(*sent)
        assert answer.startswith(b"HTTP/1.1 431 "), answer[:200]
        assert b'"ExceptionMessage"' in answer
        assert (await server.ask(get("x: " + "x" * (MAX_HEAD_BYTES - 1000)))).startswith(b"HTTP/1.1 200")


async def test_what_follows_a_chunked_body_is_bounded_and_no_header():
    """Trailers: they cannot bring a key later, nor fill the memory."""
    chunked = HEAD.replace(b"content-length: 4", b"transfer-encoding: chunked") + b"4\r\ntrue\r\n0\r\n"
    async with served(key="s3cret") as server:
        await server.hub.client.start_new("gate", "g1")
        keyed = chunked.replace(b"host:", b"x-functions-key: s3cret\r\nhost:")
        assert (await server.ask(chunked + b"x-functions-key: s3cret\r\n\r\n")).startswith(b"HTTP/1.1 401")
        assert (await server.ask(keyed, b"x: ", *[b"x" * 1000] * 1000)).startswith(b"HTTP/1.1 400")
        assert (await server.hub.client.get_status("g1")).runtime_status.label == "Running"
        assert (await server.ask(keyed + b"x-checksum: 1\r\n\r\n")).startswith(b"HTTP/1.1 202")


async def test_when_no_place_is_left_who_waits_longest_makes_room():
    """Idle connections are closed for new ones; those whose requests are being worked on are not."""
    async with served(Limits(connections=5)) as server:
        await server.hub.client.start_new("gate", "g1")
        waiting = [
            asyncio.create_task(server.ask(request("GET", "instances/g1?waitForCompletion=20"))) for _ in range(3)
        ]
        idle = [await server.connect() for _ in range(20)]
        answer = b""
        while not answer.startswith(b"HTTP/1.1 200"):
            answer = await server.ask(request("GET", "instances"))
            assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")) or not answer, answer
            if answer.startswith(b"HTTP/1.1 503"):
                assert b"retry-after: 1" in answer
                assert b'"ExceptionMessage"' in answer
        while True:
            raised = await server.ask(request("POST", "instances/g1/raiseEvent/Approval", body=b"1"))
            if raised.startswith(b"HTTP/1.1 202"):
                break
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in await asyncio.gather(*waiting))
        for _, writer in idle:
            writer.close()


async def test_pipelined_requests_are_answered_in_order_and_bounded():
    async with served() as server:
        await server.hub.client.start_new("gate", "g1")
        one = request("POST", "instances/g1/raiseEvent/E", body=b"1", close=False)
        answer = await server.ask(one * 50 + request("GET", "instances"))
        assert (answer.count(b"HTTP/1.1 202 "), answer.count(b"HTTP/1.1 200 ")) == (50, 1)
        wait = request("GET", "instances/g1?waitForCompletion=20", close=False)
        assert await server.ask(wait + ALIVE * 10_000) == b""


async def test_who_does_not_read_the_answer_is_closed(monkeypatch):
    """The client sees nothing of it; the server has its memory back."""
    closed = asyncio.Event()

    class Watched(Connection):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            closed.set()

    monkeypatch.setattr("bide.http.server.Connection", Watched)
    async with served(IMPATIENT) as server:
        await server.hub.client.start_new("gate", "big", "x" * 1_000_000)
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(request("GET", "instances/big", close=False) * 50)
            await closed.wait()


SMUGGLED = {
    "two lengths": HEAD.replace(b"content-length: 4", b"content-length: 4\r\ncontent-length: 5"),
    "length and chunks": HEAD.replace(b"content-length: 4", b"content-length: 4\r\ntransfer-encoding: chunked"),
    "a length that is none": HEAD.replace(b"length: 4", b"length: +4"),
    "a space before the colon": HEAD.replace(b"length:", b"length :"),
    "a folded header": HEAD.replace(b"host:", b"x: y\r\n z\r\nhost:"),
    "a bare line feed": HEAD.replace(b"\r\n", b"\n"),
    "a zero byte": HEAD.replace(b"localhost", b"local\0host"),
    "an unknown coding": HEAD.replace(b"content-length: 4", b"transfer-encoding: gzip"),
}


@pytest.mark.parametrize("head", SMUGGLED.values(), ids=SMUGGLED)
async def test_requests_that_two_servers_could_read_in_two_ways_are_refused(head):
    async with served() as server:
        await server.hub.client.start_new("gate", "g1")
        answer = await server.ask(head + BODY)
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b'"ExceptionMessage"' in answer
        assert (await server.hub.client.get_status("g1")).runtime_status.label == "Running"


async def test_an_upgrade_that_is_only_offered_is_passed_over(caplog):
    """As by Java's client, which offers HTTP/2 on its first request: the body counts, and the connection goes on."""
    offer = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk"
    async with served() as server:
        await server.hub.client.start_new("gate", "g1")
        offered = request("POST", "instances/g1/raiseEvent/Approval", offer, body=b'"hi"', close=False)
        reader, writer = await server.connect()
        with contextlib.closing(writer):
            writer.write(offered)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202")
            assert (await server.exchange(reader, writer, get())).startswith(b"HTTP/1.1 200")
        assert (await server.hub.client.wait_for_completion("g1", timeout=5)).output == "hi"
    assert not caplog.records


async def test_the_access_log_says_no_key(caplog):
    """Neither of the query, nor where `&code=` stands in the path."""
    log = logging.getLogger("uvicorn.access")
    async with served(key="s3cret", access_log=True) as server:
        log.addHandler(caplog.handler)
        try:
            await server.hub.client.start_new("gate", "g1")
            for path in (
                "instances?code=s3cret&top=1",
                "instances?top=1&CODE=s3cret",
                "instances?%63ode=s3cret",
                "instances/g1/raiseEvent/A&code=s3cret",
            ):
                assert not (await server.ask(request("GET", path))).startswith(b"HTTP/1.1 401")
            await server.ask(request("GET", "instances?code=gu3ssed"))
        finally:
            log.removeHandler(caplog.handler)
    assert len(caplog.messages) == 5
    assert "code=***&top=1" in caplog.text
    assert "s3cret" not in caplog.text
    assert "gu3ssed" not in caplog.text


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/x?a=1", "/x?a=1"),
        ("/x?code", "/x?code"),
        ("/x?code=a%26b", "/x?code=***"),
        ("/x?a=code=1", "/x?a=code=1"),
        ("/x%26code%3Da%26b?c=1", "/x%26code%3D***?c=1"),
        ("/durabletask/secret/instances/x?a=1", "/durabletask/***/instances/x?a=1"),
    ],
)
def test_what_an_address_shows(target, shown):
    assert without_keys(target) == shown


@pytest.mark.parametrize(
    ("soft", "hard", "connections"),
    [(300, 400, 144), (300, 1000, 500), (1000, 1000, 500), (-1, -1, 500), (100, -1, 500), (100, 100, 1)],
)
def test_no_more_connections_than_files_are_allowed(monkeypatch, soft, hard, connections):
    """After asking for as many as may be had; some stay free for the store."""
    files = [(soft, hard)]
    monkeypatch.setattr("resource.getrlimit", lambda _: files[-1])
    monkeypatch.setattr("resource.setrlimit", lambda _, both: files.append(both))
    assert possible(Limits(500, 7)) == Limits(connections, 7)
    assert files[-1][1] == hard
