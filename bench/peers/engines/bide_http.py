"""bide as a server: `bide serve`, and the client on the other side of HTTP."""

import contextlib
import importlib.metadata
import json
import signal
import sys
from collections.abc import AsyncIterator

from bench.peers.connection import Connections
from bench.peers.engine import Engine, Place, Scale
from bench.peers.serving import Server, said

SCALE = Scale(approvals=6_000, singles=500, parked=10_000, events=10_000, chains=5, chains_together=192, fan_outs=10)
_BASE = "/runtime/webhooks/durabletask"


def version() -> str:
    return importlib.metadata.version("bide")


def settings(_: str) -> str:
    return "as installed, `bide serve` in a process of its own; SQLite with WAL and synchronous=FULL"


class OverHttp:
    def __init__(self, server: Server, connections: Connections) -> None:
        self._server = server
        self._connections = connections

    async def start(self, workflow: str, size: int) -> str:
        answer = await self._accepted(f"/orchestrators/{workflow}", str(size).encode())
        return str(json.loads(answer)["id"])

    async def raise_event(self, instance_id: str, name: str, number: int) -> None:
        await self._accepted(f"/instances/{instance_id}/raiseEvent/{name}", str(number).encode())

    async def completed(self, instance_id: str) -> None:
        path = f"{_BASE}/instances/{instance_id}?waitForCompletion=60"
        status, answer = await self._connections.request("GET", path)
        assert status == 200, answer

    async def kill(self) -> None:
        await self._server.end(signal.SIGKILL)

    async def _accepted(self, path: str, body: bytes) -> bytes:
        status, answer = await self._connections.request("POST", _BASE + path, body)
        assert status == 202, answer
        return answer


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Engine]:
    command = [sys.executable, "-m", "bide", "serve", "bench/app.py", "--port", "0", "--store", place.url]
    async with Server.running(command, place.folder / "bide.log") as server:
        line = await said(server, "http://127.0.0.1:")
        connections = Connections(int(line.partition("http://127.0.0.1:")[2].split("/")[0].split()[0]))
        yield OverHttp(server, connections)
        await connections.close()
