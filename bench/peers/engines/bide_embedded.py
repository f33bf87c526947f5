"""bide in the process of its caller; the store is whatever the URL says."""

import contextlib
import importlib.metadata
import os
import signal
from collections.abc import AsyncIterator

import bide
from bench.app import app
from bench.peers.engine import Engine, Place, Scale

SCALE = Scale(approvals=12_000, singles=500, parked=10_000, events=10_000, chains=5, chains_together=192, fan_outs=10)


def version() -> str:
    return importlib.metadata.version("bide")


def settings(url: str) -> str:
    store = "SQLite with WAL and synchronous=FULL" if url.startswith("sqlite") else "PostgreSQL"
    return f"as installed, in process; {store}"


class Embedded:
    def __init__(self, client: bide.Client) -> None:
        self._client = client

    async def start(self, workflow: str, size: int) -> str:
        return await self._client.start_new(workflow, client_input=size)

    async def raise_event(self, instance_id: str, name: str, number: int) -> None:
        await self._client.raise_event(instance_id, name, number)

    async def completed(self, instance_id: str) -> None:
        await self._client.wait_for_completion(instance_id)

    async def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Engine]:
    async with bide.Hub(app, place.url) as hub:
        yield Embedded(hub.client)
