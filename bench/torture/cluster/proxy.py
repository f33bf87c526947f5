"""A network between one node and its database, which can be cut."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Self

_AT_ONCE = 1 << 16
_COMMITS = b"bide commits"
"""The application name of the connection that commits, as it is sent when it is opened."""


class Proxy:
    """Listens on the loopback interface, and passes everything on to the first of `servers` that takes a connection."""

    def __init__(self, servers: Sequence[int]) -> None:
        self._servers = servers
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_up = True
        self._answers_pass = True
        self._requests_pass = True
        self._lost = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports to close

    def hold(self) -> None:
        """Pass nothing on, and say nothing: a cable was pulled. What is sent meanwhile arrives after `heal`."""
        self._flows.clear()

    def cut(self) -> None:
        """Reset all connections, and every new one, until `heal`."""
        self._is_up = False
        self._reset()

    def heal(self) -> None:
        self._is_up = True
        self._flows.set()

    async def lose_answer(self) -> None:
        """Reset all connections when the server has answered a commit, and the node has not heard the answer."""
        self._answers_pass = False
        await self._lose()
        self._answers_pass = True

    async def lose_request(self) -> None:
        """Reset all connections when the node has sent a commit, and the server has not heard of it."""
        self._requests_pass = False
        await self._lose()
        self._requests_pass = True

    async def _lose(self) -> None:
        self._lost.clear()
        await self._lost.wait()
        self._reset()

    def _reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(self._serve(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._flows.wait()
            if self._is_up:
                with contextlib.suppress(ConnectionError):
                    await self._pass_on(reader, writer, *await self._connect())
        finally:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for port in self._servers[:-1]:
            with contextlib.suppress(ConnectionError):
                return await asyncio.open_connection("127.0.0.1", port)
        return await asyncio.open_connection("127.0.0.1", self._servers[-1])

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._writers.update((writer, server_writer))
        link = _Link()
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, link, is_answer=False),
                self._pump(server_reader, writer, link, is_answer=True),
            )
        finally:
            server_writer.transport.abort()
            self._writers.difference_update((writer, server_writer))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: "_Link", *, is_answer: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_AT_ONCE):
                await self._flows.wait()
                link.commits |= not is_answer and _COMMITS in data
                passes = self._answers_pass if is_answer else self._requests_pass
                if link.commits and not passes:
                    self._lost.set()
                else:
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


class _Link:
    """A connection through the proxy, and whether it is the one that commits."""

    commits = False
