"""Bounds on what a client may take of the server: time, memory, connections.

uvicorn waits for a request as long as the client likes, and reads a head of any size. Here a connection whose client
keeps the server waiting is closed after a while, and sooner when its place is needed. It is the server that looks, once a
second: a request costs no timer.

=========  ==========================================  =========================================
part       the client owes                             until
=========  ==========================================  =========================================
idle       a request                                   30 s after connecting, 75 s after an answer
head       the rest of the head                        30 s
body       the rest of the body                        30 s, and 1 s for every 8 KiB that came
rest       the rest of a body that nobody reads        30 s
unread     reading its answer                          30 s without a byte taken
=========  ==========================================  =========================================

30 s is `Limits.seconds`; Kestrel, below the Functions host, gives a head as long.
"""

import asyncio
import contextlib
import resource
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from bide.http.errors import body_of

MAX_HEAD_BYTES = 64 << 10
"""Kestrel takes 32 KiB of headers and 8 KiB of request line."""
KEEP_ALIVE_SECONDS = 75
_MIN_BODY_RATE = 8 << 10
"""Bytes a second."""
_MOST_PIPELINED = 100
_FILES_KEPT_FREE = 256
"""For the store, for what user code opens, and for connections that are refused."""

_OFFERS = frozenset({b"upgrade", b"http2-settings"})
_IDLE, _HEAD, _BODY = "idle", "head", "body"
_State = tuple[RequestResponseCycle | None, bool, str]


@dataclass(frozen=True)
class Limits:
    """`connections` at a time, and `seconds` that a client may keep the server waiting for a request."""

    connections: int = 10_000
    seconds: float = 30.0


def possible(limits: Limits) -> Limits:
    """Lower `connections` to what the system lets this process open, after asking it for as much as it gives."""
    wanted = limits.connections + _FILES_KEPT_FREE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_less(soft, wanted):
        with contextlib.suppress(OSError, ValueError):  # macOS refuses what its kernel has no room for
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if _is_less(hard, wanted) else wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_less(soft, wanted):
        return replace(limits, connections=max(soft - _FILES_KEPT_FREE, 1))
    return limits


def _is_less(files: int, wanted: int) -> bool:
    return files != resource.RLIM_INFINITY and files < wanted


class Doorkeeper:
    """Looks after all connections of a server."""

    def __init__(self, limits: Limits, connections: set[Any]) -> None:
        """`connections` is uvicorn's own set."""
        self.limits = limits
        self._connections = connections
        self._waiting: deque[tuple[Connection, _State]] = deque()

    def look(self, now: float) -> None:
        """Close what has kept the server waiting for too long; note who else waits, the longest first."""
        waiting = []
        for connection in list(self._connections):
            since = connection.look(now)
            if since is not None:
                waiting.append((since, connection))
        waiting.sort(key=lambda each: each[0])
        self._waiting = deque((connection, connection.state) for _, connection in waiting)

    def has_room(self) -> bool:
        """Tell whether one more connection may be opened, if need be in place of the one that waits for its client longest."""
        if len(self._connections) < self.limits.connections:
            return True
        while self._waiting:
            connection, state = self._waiting.popleft()
            if connection in self._connections and connection.state == state:
                connection.drop()
                return True
        return False


class Connection(HttpToolsProtocol):
    """One connection: uvicorn's own protocol, within bounds."""

    def __init__(self, *arguments: Any, doorkeeper: Doorkeeper, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._doorkeeper = doorkeeper
        self._part = _IDLE
        self._unaccounted = 0  # bytes since the last piece of a body, or the end of the last request
        self._body_size = 0
        self._data = b""
        self._offered = b""
        self._seen: _State | None = None
        self._since = 0.0
        self._unsent = 0

    # What comes in

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if not self._doorkeeper.has_room():
            self.transport = transport
            self._refuse(503, "Too many connections; try again a little later.")
            return
        super().connection_made(transport)
        self._since = time.monotonic()
        self._seen = self.state

    def data_received(self, data: bytes) -> None:
        self._unaccounted += len(data)
        self._data = data
        super().data_received(data)
        self._data = b""
        if self._unaccounted > MAX_HEAD_BYTES and not self.transport.is_closing():
            if self._part == _BODY:
                self._refuse(400, "The body has more framing or trailers than content.")
            else:
                self._refuse_head()

    def on_message_begin(self) -> None:
        self._part = _HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._part = _BODY
        if self._unaccounted > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES:
            self._refuse_head()
        elif len(self.pipeline) >= _MOST_PIPELINED:
            self.drop()
        elif self.parser.get_method() == b"CONNECT":
            self._refuse(405, "This is no proxy.")
        if self.transport.is_closing():
            return
        if self.parser.should_upgrade():
            self._offered = self._head_without_upgrade()
            return
        self._unaccounted = self._body_size = 0
        super().on_headers_complete()
        self.headers = []  # what comes after the body is no header

    def on_body(self, body: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unaccounted = 0
        self._body_size += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.transport.is_closing() or self._offered:
            return
        self._part = _IDLE
        self._unaccounted = 0
        super().on_message_complete()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    # Upgrades

    def _head_without_upgrade(self) -> bytes:
        """Write the head anew without its offer of another protocol, which is passed over, as HTTP allows."""
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            kept = value
            if name == b"connection":
                kept = b",".join(each for each in value.split(b",") if each.strip().lower() not in _OFFERS)
            if name not in _OFFERS:
                head += [name, b": ", kept, b"\r\n"]
        return b"".join([*head, b"\r\n"])

    def _unsupported_upgrade_warning(self) -> None:
        """Read the request again, without its offer.

        Called where httptools has stopped: it leaves the body of a request that offers an upgrade unread. Java's client
        offers HTTP/2 in its first request, and would have raised an event without its data.
        """
        stopped = sys.exception()
        head, self._offered = self._offered, b""
        if not isinstance(stopped, httptools.HttpParserUpgrade) or self.transport.is_closing():
            return
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + self._data[stopped.args[0] :])

    # What the doorkeeper asks

    @property
    def state(self) -> _State:
        """What the connection is at; equal as long as nothing of it is over."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle, cycle is None or cycle.response_complete, self._part

    def look(self, now: float) -> float | None:
        """Close the connection if its client keeps it waiting for too long.

        Otherwise tell since when it waits; None when it does not.
        """
        state = self.state
        unsent = self.transport.get_write_buffer_size()
        if state != self._seen or unsent < self._unsent:
            self._since = now
        self._seen, self._unsent = state, unsent
        patience = self._patience(state)
        if patience is None:
            return None
        if now - self._since > patience:
            self._give_up(state)
        return self._since

    def _patience(self, state: _State) -> float | None:
        """How long the client may take for what it owes; None when it owes nothing."""
        cycle, is_answered, part = state
        seconds = self._doorkeeper.limits.seconds
        if self._unsent:
            return seconds
        if not is_answered:
            if part != _BODY or self.pipeline or self.flow.read_paused:
                return None
            return seconds + self._body_size / _MIN_BODY_RATE
        return KEEP_ALIVE_SECONDS if part == _IDLE and cycle is not None else seconds

    def _give_up(self, state: _State) -> None:
        _, is_answered, part = state
        if self._unsent or part == _IDLE or (is_answered and part == _BODY):
            self.drop()
        else:
            self._refuse(408, f"The request's {part} took too long to arrive.")

    # How it ends

    def drop(self) -> None:
        """Close at once, whatever is unsent."""
        self.connections.discard(self)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        self._refuse(431, f"The request's line and headers may have {MAX_HEAD_BYTES:,} bytes together.")

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            self._refuse(400, msg)

    def _refuse(self, status: int, message: str) -> None:
        """Answer and close. Where another answer is due first, or under way, this one would be taken for it: only close."""
        cycle = self.cycle
        is_due = cycle is not None and not cycle.response_complete
        if is_due and (cycle.response_started or self.pipeline or self._part != _BODY):
            self.drop()
            return
        if is_due:
            cycle.disconnected = True  # whoever waits for the body hears of it; its answer goes nowhere
            cycle.message_event.set()
        body = body_of(message, f"Http{status}")
        head = b"content-type: application/json; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(
            body
        )
        retry = b"retry-after: 1\r\n" if status == 503 else b""  # noqa: PLR2004  (HTTP)
        self.transport.write(STATUS_LINE[status] + head + retry + b"\r\n" + body)
        self.transport.close()
