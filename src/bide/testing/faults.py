"""A store that fails when told to."""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from bide.errors import StoreUnavailableError
from bide.model.commit import Batch
from bide.store import Store

if TYPE_CHECKING:
    _Base = Store
else:
    _Base = object


class FaultyStore(_Base):
    """Passes everything on to `store`, but for the commits that `fail_next` has been told to refuse.

    ::

        store = FaultyStore(MemoryStore())
        async with Harness(app, store) as harness:
            store.fail_next(1)
            with pytest.raises(bide.StoreUnavailableError):
                await harness.client.raise_event(instance_id, "Approval", event_id="a1")
            await harness.client.raise_event(instance_id, "Approval", event_id="a1")
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failures = 0

    def fail_next(self, commits: int) -> None:
        """Refuse the next so many commits, as a full disk would."""
        self._failures = commits

    def commit(self, batch: Batch) -> Awaitable[None]:
        if self._failures == 0:
            return self._store.commit(batch)
        self._failures -= 1
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refused.set_exception(StoreUnavailableError("The test wants this commit to fail."))
        return refused

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)
