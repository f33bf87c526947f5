"""Bytes on a socket that are nearly HTTP: the server answers what it can, closes the rest, and goes on."""

import asyncio
import logging

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.budget import tries
from tests.http.serving import request, served

from bide.http.connections import Limits

START = request("POST", "orchestrators/gate", body=b'{"a": 1}')
CHUNKED = START.replace(b"content-length: 8", b"transfer-encoding: chunked")[:-8] + b'8\r\n{"a": 1}\r\n0\r\n\r\n'
SEEDS = [
    START,
    START.replace(b"connection: close\r\n", b""),
    CHUNKED,
    request("GET", "instances?top=1"),
    request("GET", "instances", close=False),
    request("DELETE", "instances/nobody", close=False),
    request("PUT", "x", "content-length: 3", close=False) + b"abc",
    request("POST", "instances/g1/raiseEvent/E", "expect: 100-continue", body=b"1"),
    request("POST", "instances/g1/raiseEvent/E", "connection: upgrade\r\nupgrade: h2c", body=b"1", close=False),
    b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET http://localhost/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /healthz HTTP/1.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]
SPLICES = [
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"\xff",
    b"HTTP/1.1",
    b"content-length: 3\r\n",
    b"transfer-encoding: chunked\r\n",
    b"?",
    b"%",
    b"GET ",
]


@st.composite
def nearly_http(draw):
    """Some requests in a row, with bytes changed, cut off, doubled or put in; in pieces."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from([0, 0, 1, 2, 10, 100])))
        data[at:end] = draw(st.sampled_from(SPLICES) | st.binary(max_size=5)) + data[at:end] * draw(st.integers(0, 2))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=2)))
    return [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@tries(2)
@given(st.lists(nearly_http(), min_size=40, max_size=40))
async def test_bytes_that_are_nearly_http(caplog, monkeypatch, conversations):
    """No 5xx, no exception in the log, no connection that stays open; and the hub works after."""
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr("bide.http.connections.KEEP_ALIVE_SECONDS", 0.3)
    async with served(Limits(seconds=0.3)) as server:
        await server.hub.client.start_new("gate", "g1")
        answers = await asyncio.gather(*(server.ask(*pieces) for pieces in conversations))
        for pieces, answer in zip(conversations, answers, strict=True):
            assert b"HTTP/1.1 5" not in answer, (pieces, answer)
        assert (await server.ask(START)).startswith(b"HTTP/1.1 202")
    assert not caplog.records
