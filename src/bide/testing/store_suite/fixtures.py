"""The open store, and short ways to write commits."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bide.model.codec import encode_turn
from bide.model.commit import Batch, Commit, Turn
from bide.model.events import ExecutionStarted
from bide.model.instance import InstanceRow, OrchestrationRuntimeStatus, Wait
from bide.model.nodes import NodeRole
from bide.model.partitions import make_iid
from bide.store.base import Store
from bide.store.cluster import is_shared

TTL = 60_000_000
"""How long leases last, where the test does not make them run out: a minute."""


class Deaf:
    """A `Listener` that does nothing."""

    def on_messages(self) -> None: ...

    def on_reply(self, request: int, data: str) -> None: ...

    def on_activities(self) -> None: ...

    def on_change(self) -> None: ...

    def on_gap(self) -> None: ...


@pytest.fixture
async def store(make_store: Callable[[], Store]) -> AsyncIterator[Store]:
    async with opened(make_store) as store:
        yield store


@asynccontextmanager
async def opened(make_store: Callable[[], Store]) -> AsyncIterator[Store]:
    """Open a store and own all of it."""
    store = make_store()
    await store.open()
    try:
        if is_shared(store):
            await store.join("suite", NodeRole.ALL, TTL, Deaf())
            held = await store.claim(range(store.partitions), TTL)
            assert held == frozenset(range(store.partitions)), "the last owner has given everything back"
        yield store
    finally:
        await store.close()


def iid(number: int) -> int:
    """Make an iid of partition 0, the only one of the suite's stores."""
    return make_iid(0, 0, number)


def row(number: int, **fields: Any) -> InstanceRow:
    """Make a row; whatever is not given is unremarkable."""
    values: dict[str, Any] = {
        "iid": iid(number),
        "instance_id": f"i{number}",
        "name": "orchestrator",
        "status": OrchestrationRuntimeStatus.RUNNING,
        "created_at": number * 1000,
        "execution_id": f"e{number}",
    }
    return InstanceRow(**(values | fields))


def turn(seq: int, at: int = 1) -> Turn:
    return Turn(seq, at, encode_turn([ExecutionStarted("orchestrator", f"turn {seq}")]))


def wait(instance: int, number: int, name: str, since: int = 1) -> Wait:
    return Wait(f"i{instance}", number, name, since)


def inserted(number: int, **fields: Any) -> Commit:
    return Commit(iid=iid(number), insert=row(number, **fields), turn=turn(0))


async def write(store: Store, *commits: Commit, **inbox: Any) -> None:
    await store.commit(Batch(commits=list(commits), **inbox))
