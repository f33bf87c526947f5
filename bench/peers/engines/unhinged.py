"""unhinged, a library on SQLite: its async worker beside the client, in one process. Events are named for the instance."""

import asyncio
import contextlib
import importlib.metadata
import os
import signal
import uuid
from collections.abc import AsyncIterator
from typing import Any

from unhinged import AsyncUnhinged

from bench.peers.engine import Engine, Place, Scale

_CONCURRENCY = 64
_POLL_SECONDS = 0.01

SCALE = Scale(approvals=1_500, singles=50, parked=1_000, events=1_500, chains=3, chains_together=64, fan_outs=1)


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
    return importlib.metadata.version("unhinged")


def settings(_: str) -> str:
    return (
        f"in process, async worker of concurrency {_CONCURRENCY} that polls every {_POLL_SECONDS * 1000:.0f} ms when idle "
        "(default: 250 ms); SQLite with WAL and synchronous=FULL as by default; a result is polled from 50 ms up, not a setting"
    )


class Unhinged:
    def __init__(self, app: AsyncUnhinged) -> None:
        self._app = app

    async def start(self, workflow: str, size: int) -> str:
        key = uuid.uuid4().hex
        return f"{self._app.spawn(workflow, {'key': key, 'size': size})['task_id']}/{key}"

    async def raise_event(self, instance_id: str, name: str, number: int) -> None:
        self._app.emit_event(f"{name}:{instance_id.partition('/')[2]}:{number}", number)
        await asyncio.sleep(0)

    async def completed(self, instance_id: str) -> None:
        snapshot = await self._app.await_task_result(instance_id.partition("/")[0], timeout=120)
        assert snapshot.state == "completed", snapshot.failure

    async def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Engine]:
    app = AsyncUnhinged(str(place.folder / "unhinged.db"))
    for workflow in (approval, chain, fan_out, consumer):
        app.register_task(workflow.__name__)(workflow)
    worker = asyncio.create_task(app.start_worker(concurrency=_CONCURRENCY, poll_interval=_POLL_SECONDS))
    yield Unhinged(app)
    app.stop_worker()
    await worker
    app.close()
