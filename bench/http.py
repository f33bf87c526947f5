"""The workloads over HTTP: `bide serve` in a process of its own, and connections that send one request after the other."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from bench.workloads import Lines, closed_loop, quantiles, url_of

_BASE = "/runtime/webhooks/durabletask"


class Connection:
    """HTTP/1.1 with keep-alive, and nothing that it does not need: the load must cost less than what it measures."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and body. Raises when the connection ends."""
        where = path if path.startswith("/api/") else _BASE + path
        head = f"{method} {where} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        at = answer.lower().find(b"content-length:")
        length = int(answer[at + 15 : answer.index(b"\r\n", at)]) if at >= 0 else 0
        return int(answer[9:12]), await self._reader.readexactly(length) if length else b""

    async def start(self, orchestrator: str, body: bytes = b"") -> str:
        status, answer = await self.request("POST", f"/orchestrators/{orchestrator}", body)
        assert status == 202, answer
        return str(json.loads(answer)["id"])

    async def raise_event(self, instance_id: str, name: str, body: bytes = b"true") -> None:
        status, answer = await self.request("POST", f"/instances/{instance_id}/raiseEvent/{name}", body)
        assert status == 202, answer

    async def wait(self, instance_id: str) -> None:
        status, answer = await self.request("GET", f"/instances/{instance_id}?waitForCompletion=30")
        assert status == 200, answer


def served(
    folder: Path, name: str, connections: int, *options: str
) -> contextlib.AbstractAsyncContextManager[list[Connection]]:
    """Serve the benchmarks' app on a free port of 127.0.0.1, and connect."""
    command = ["bide", "serve", "bench/app.py", "--port", "0", "--store", url_of(folder, name), *options]
    return running(command, connections)


@contextlib.asynccontextmanager
async def running(module: list[str], connections: int) -> AsyncIterator[list[Connection]]:
    """Run a module that says at which address it serves."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        assert server.stdout is not None
        yield await open_connections(await listening_at(server.stdout), connections)
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGTERM)
        await server.wait()


async def open_connections(port: int, count: int) -> list[Connection]:
    return [Connection(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(count)]


async def listening_at(output: asyncio.StreamReader) -> int:
    """Read what a server says until it names its port."""
    said = b""
    async for line in output:
        said += line
        if b"http://127.0.0.1:" in line:
            return int(line.partition(b"http://127.0.0.1:")[2].split(b"/")[0].split()[0])
    raise RuntimeError(said.decode())


async def bare(_: object, receive: Callable[[], Awaitable[object]], send: Callable[[object], Awaitable[None]]) -> None:
    """Answer and do nothing: the most that this server and this client do on this machine."""
    await receive()
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def limit() -> Lines:
    """Requests that an ASGI app which does nothing answers."""
    module = ["uvicorn", "bench.http:bare", "--port", "0", "--lifespan", "off", "--no-access-log"]
    async with running(module, 64) as connections:
        rate, taken = await spread(connections, lambda each: each.raise_event("x", "e"), 30_000)
    return [f"  64 connections, an app that does nothing: {rate:8,.0f} requests/s  {quantiles(taken)}"]


async def w1(folder: Path) -> Lines:
    """W1 over HTTP: start, raise, long poll for completion; so many connections."""
    lines = await limit()
    for in_flight in (64, 256):
        async with served(folder, f"w1http-{in_flight}", in_flight) as connections:
            rate, taken = await spread(connections, approve, 6000)
            lines.append(f"{in_flight:4} connections: {rate:8,.0f}/s  {quantiles(taken)}")
    async with served(folder, "mix", 64) as connections:
        rate, taken = await spread(connections, start_and_raise, 8000)
        lines.append(
            f"  64 connections, start and raise only: {rate * 2:8,.0f} requests/s  {quantiles(taken)} for both"
        )
    return lines


async def w1_two(folder: Path) -> Lines:
    """W1 over HTTP from 64 connections to one server, and to two with a store each."""
    lines = []
    for count in (1, 2):
        async with contextlib.AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(served(folder, f"two-http-{count}-{number}", 64 // count))
                for number in range(count)
            ]
            done = await asyncio.gather(*(spread(connections, approve, 6000 // count) for connections in servers))
            lines.append(f"{count} servers: {sum(rate for rate, _ in done):8,.0f}/s")
    return lines


async def w1_azure(folder: Path) -> Lines:
    """W1 of a hosted app for Azure Functions: its HTTP starter, raise, long poll; so many connections."""
    lines = []
    for in_flight in (1, 64):
        command = ["bide", "serve", "bench/azure", "--port", "0", "--store", f"sqlite:///{folder}/azure-{in_flight}.db"]
        async with running(command, in_flight) as connections:
            rate, taken = await spread(connections, _approve_hosted, 500 * min(in_flight, 6))
            lines.append(f"{in_flight:4} connections: {rate:8,.0f}/s  {quantiles(taken)}")
    return lines


async def _approve_hosted(connection: Connection) -> None:
    status, answer = await connection.request("POST", "/api/start")
    assert status == 202, answer
    instance_id = json.loads(answer)["id"]
    await connection.raise_event(instance_id, "Approval")
    await connection.wait(instance_id)


async def w2(folder: Path) -> Lines:
    """W2 over HTTP: raise until completion is seen, one at a time."""
    taken = []
    async with served(folder, "w2http", 1) as [connection]:
        for _ in range(1000):
            instance_id = await connection.start("approval")
            begin = time.perf_counter()
            await connection.raise_event(instance_id, "Approval")
            await connection.wait(instance_id)
            taken.append(time.perf_counter() - begin)
    return [quantiles(taken)]


async def w4(folder: Path) -> Lines:
    """W4 over HTTP: events to one instance, from 64 connections."""
    count = 10_000
    async with served(folder, "w4http", 64) as connections:
        instance_id = await connections[0].start("consumer", str(count).encode())

        async def once(connection: Connection) -> None:
            await connection.raise_event(instance_id, "e")

        rate, taken = await spread(connections, once, count)
        await connections[0].wait(instance_id)
    return [f"{count:6,} events: {rate:8,.0f}/s  {quantiles(taken)}"]


async def approve(connection: Connection) -> None:
    instance_id = await connection.start("approval")
    await connection.raise_event(instance_id, "Approval")
    await connection.wait(instance_id)


async def start_and_raise(connection: Connection) -> None:
    await connection.raise_event(await connection.start("approval"), "Approval")


async def spread(
    connections: list[Connection], once: Callable[[Connection], Awaitable[None]], count: int
) -> tuple[float, list[float]]:
    """Do `once` `count` times, on every connection one after the other."""
    free = list(connections)

    async def on_a_free_one() -> None:
        connection = free.pop()
        await once(connection)
        free.append(connection)

    return await closed_loop(on_a_free_one, len(connections), count)
