"""The open store, and short ways to write commits."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bide.model.codec import encode_turn
from bide.model.commit import Batch, Commit, Turn
from bide.model.events import ExecutionStarted
from bide.model.instance import InstanceRow, OrchestrationRuntimeStatus, Wait
from bide.store.base import Store


@pytest.fixture
async def store(make_store: Callable[[], Store]) -> AsyncIterator[Store]:
    store = make_store()
    await store.open()
    yield store
    await store.close()


def row(iid: int, **fields: Any) -> InstanceRow:
    """Make a row; whatever is not given is unremarkable."""
    values: dict[str, Any] = {
        "instance_id": f"i{iid}",
        "name": "orchestrator",
        "status": OrchestrationRuntimeStatus.RUNNING,
        "created_at": iid * 1000,
        "execution_id": f"e{iid}",
    }
    return InstanceRow(iid=iid, **(values | fields))


def turn(seq: int, at: int = 1) -> Turn:
    return Turn(seq, at, encode_turn([ExecutionStarted("orchestrator", f"turn {seq}")]))


def wait(iid: int, number: int, name: str, since: int = 1) -> Wait:
    return Wait(f"i{iid}", number, name, since)


def inserted(iid: int, **fields: Any) -> Commit:
    return Commit(iid=iid, insert=row(iid, **fields), turn=turn(0))


async def write(store: Store, *commits: Commit, **inbox: Any) -> None:
    await store.commit(Batch(commits=list(commits), **inbox))
