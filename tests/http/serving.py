"""The API on a port of its own, served as `bide serve` does, in the event loop of the test."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Any

from tests.http.conftest import app

import bide
from bide.http.connections import Limits
from bide.http.server import listen, serve


class Served:
    """A running server; `hub` is what it serves."""

    def __init__(self, hub: bide.Hub, port: int) -> None:
        self.hub = hub
        self.port = port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)

    async def ask(self, *sent: bytes) -> bytes:
        """Send bytes on a new connection; all that comes back until the server closes it."""
        reader, writer = await self.connect()
        with contextlib.closing(writer):
            return await self.exchange(reader, writer, *sent)

    @staticmethod
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *sent: bytes) -> bytes:
        came = []
        with contextlib.suppress(ConnectionError):  # it may be closed before all is sent
            for each in sent:
                writer.write(each)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                came.append(data)
        return b"".join(came)


@contextlib.asynccontextmanager
async def served(limits: Limits | None = None, **options: Any) -> AsyncIterator[Served]:
    started = asyncio.get_running_loop().create_future()
    key = options.pop("key", None)
    async with bide.Hub(app, store="memory:") as hub:
        api = hub.asgi(key=key)
        listener = listen("127.0.0.1", 0, key=key)
        running = asyncio.create_task(
            serve(
                api,
                listener,
                limits=limits,
                on_started=started.set_result,
                on_stopping=api.stop_waiting,
                **options,
            )
        )
        yield Served(hub, await started)
        signal.raise_signal(signal.SIGTERM)
        await running


def request(method: str, path: str, *headers: str, body: bytes = b"", close: bool = True) -> bytes:
    """Make the bytes of a request below the API's base; `headers` are whole lines."""
    lines = [f"{method} /runtime/webhooks/durabletask/{path} HTTP/1.1", "host: localhost", *headers]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    if close:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body
