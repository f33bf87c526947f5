"""absurd, a library on PostgreSQL: its async worker beside its clients, in one process. Events are named for the instance."""

import asyncio
import contextlib
import importlib.metadata
import itertools
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from absurd_sdk import AsyncAbsurd

from bench.peers.engine import Engine, Place, Scale

_CLIENTS = 8
_CONCURRENCY = 64
_POLL_SECONDS = 0.01

SCALE = Scale(approvals=1_000, singles=50, parked=1_000, events=1_000, chains=3, chains_together=64, fan_outs=1)


async def nothing(value: int) -> int:
    return value


async def approval(params: Any, context: Any) -> int:
    approved = await context.await_event(f"Approval:{params['key']}:0")
    return await context.step("nothing", lambda: nothing(approved))


async def chain(params: Any, context: Any) -> None:
    for number in range(params["size"]):
        await context.step("nothing", lambda number=number: nothing(number))


async def fan_out(params: Any, context: Any) -> int:
    steps = [context.step("nothing", lambda number=number: nothing(number)) for number in range(params["size"])]
    return len(await asyncio.gather(*steps))


async def consumer(params: Any, context: Any) -> None:
    for number in range(params["size"]):
        await context.await_event(f"e:{params['key']}:{number}")


def version() -> str:
    return importlib.metadata.version("absurd-sdk")


def settings(_: str) -> str:
    return (
        f"in process, async worker of concurrency {_CONCURRENCY} that polls every {_POLL_SECONDS * 1000:.0f} ms when idle "
        f"(default: 250 ms), {_CLIENTS} clients with a connection each; a result is polled from 50 ms up, not a setting"
    )


class Absurd:
    def __init__(self, clients: list[AsyncAbsurd]) -> None:
        self._clients = itertools.cycle(clients)

    async def start(self, workflow: str, size: int) -> str:
        key = uuid.uuid4().hex
        started = await next(self._clients).spawn(workflow, {"key": key, "size": size}, queue="bench")
        return f"{started['task_id']}/{key}"

    async def raise_event(self, instance_id: str, name: str, number: int) -> None:
        await next(self._clients).emit_event(f"{name}:{instance_id.partition('/')[2]}:{number}", number)

    async def completed(self, instance_id: str) -> None:
        snapshot = await next(self._clients).await_task_result(instance_id.partition("/")[0], timeout=120)
        assert snapshot.state == "completed", snapshot.failure

    async def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Engine]:
    await asyncio.to_thread(_initialise, place)
    worker = AsyncAbsurd(place.url, queue_name="bench")
    for workflow in (approval, chain, fan_out, consumer):
        worker.register_task(workflow.__name__)(workflow)
    clients = [AsyncAbsurd(place.url, queue_name="bench") for _ in range(_CLIENTS)]
    work = asyncio.create_task(worker.start_worker(concurrency=_CONCURRENCY, poll_interval=_POLL_SECONDS))
    yield Absurd(clients)
    worker.stop_worker()
    await work
    for each in (worker, *clients):
        await each.close()


def _initialise(place: Place) -> None:
    """Create schema and queue once, by absurd's own command."""
    done = place.folder / "initialised.json"
    if done.exists():
        return
    command = str(Path(sys.prefix) / "bin" / "absurdctl")
    for arguments in (["init"], ["create-queue", "bench"]):
        subprocess.run(
            [command, *arguments, "--database", place.url], check=True, stdout=subprocess.DEVNULL, cwd=place.folder
        )
    done.touch()
