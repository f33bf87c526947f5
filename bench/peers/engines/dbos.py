"""DBOS, a library: async workflows in the caller's loop, messages by `send` and `recv`, on SQLite or PostgreSQL.

On SQLite a message is found by polling. The interval is a documented setting, a second by default and here the shortest
that it takes to matter: at 10 ms polling itself costs little. On PostgreSQL LISTEN and NOTIFY are used as by default.
"""

import asyncio
import contextlib
import importlib.metadata
import os
import signal
from collections.abc import AsyncIterator

from dbos import DBOS, DBOSConfig, WorkflowHandleAsync

from bench.peers.engine import Engine, Place, Scale

_POLL_SECONDS = 0.01
_WEEK = 7 * 24 * 3600

SCALE = Scale(approvals=400, singles=100, parked=1_000, events=400, chains=3, chains_together=64, fan_outs=1)


@DBOS.step()
async def nothing(value: int) -> int:
    return value


@DBOS.workflow()
async def approval(_: int) -> int:
    approved = await DBOS.recv_async("Approval", timeout_seconds=_WEEK)
    return await nothing(approved)


@DBOS.workflow()
async def chain(size: int) -> None:
    for number in range(size):
        await nothing(number)


@DBOS.workflow()
async def fan_out(size: int) -> int:
    steps = [asyncio.create_task(nothing(number)) for number in range(size)]
    return len(await asyncio.gather(*steps, return_exceptions=True))


@DBOS.workflow()
async def consumer(size: int) -> None:
    for _ in range(size):
        await DBOS.recv_async("e", timeout_seconds=_WEEK)


_WORKFLOWS = {"approval": approval, "chain": chain, "fan_out": fan_out, "consumer": consumer}


def version() -> str:
    return importlib.metadata.version("dbos")


def settings(url: str) -> str:
    if url.startswith("sqlite"):
        polling = f"polled for messages every {_POLL_SECONDS * 1000:.0f} ms (default: 1 s)"
        store = f"SQLite with a rollback journal and synchronous=FULL as by default, {polling}"
    else:
        store = "PostgreSQL with LISTEN/NOTIFY as by default"
    return f"in process, async workflows; {store}"


class Dbos:
    def __init__(self) -> None:
        self._handles: dict[str, WorkflowHandleAsync[object]] = {}

    async def start(self, workflow: str, size: int) -> str:
        handle = await DBOS.start_workflow_async(_WORKFLOWS[workflow], size)
        self._handles[handle.workflow_id] = handle
        return handle.workflow_id

    async def raise_event(self, instance_id: str, name: str, number: int) -> None:
        await DBOS.send_async(instance_id, number, name)

    async def completed(self, instance_id: str) -> None:
        handle = self._handles.pop(instance_id, None) or await DBOS.retrieve_workflow_async(instance_id)
        await handle.get_result(polling_interval_sec=_POLL_SECONDS)

    async def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Engine]:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": place.url,
        "log_level": "ERROR",
        "notification_listener_polling_interval_sec": _POLL_SECONDS,
    }
    DBOS(config=config)
    DBOS.launch()
    yield Dbos()
    DBOS.destroy()
