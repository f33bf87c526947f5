"""A store that is slow and fails when told to."""

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

    With `latency` a commit takes effect, or fails, only after so many rounds of the event loop, as on a disk: meanwhile
    the engine computes the next batch, on a state that is not stored yet.
    """

    def __init__(self, store: Store, latency: int = 0) -> None:
        self._store = store
        self._latency = latency
        self._failures = 0
        self._last: asyncio.Task[None] | None = None
        self._is_broken = False  # from a failure until the engine knows of it

    def fail_next(self, commits: int) -> None:
        """Refuse the next so many commits, as a full disk would."""
        self._failures = commits

    def commit(self, batch: Batch) -> Awaitable[None]:
        self._last = asyncio.ensure_future(self._commit(batch, self._last))
        self._last.add_done_callback(self._on_done)
        return self._last

    async def _commit(self, batch: Batch, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        for _ in range(self._latency):
            await asyncio.sleep(0)
        if self._is_broken:
            raise StoreUnavailableError("An earlier commit failed.")
        if self._failures > 0:
            self._failures -= 1
            self._is_broken = True
            raise StoreUnavailableError("The test wants this commit to fail.")
        await self._store.commit(batch)

    def _on_done(self, commit: asyncio.Task[None]) -> None:
        """Runs before the engine's own callbacks; what it schedules runs after them."""
        if not commit.cancelled() and commit.exception() is not None:
            asyncio.get_running_loop().call_soon(self._mend)

    def _mend(self) -> None:
        if self._last is None or self._last.done():
            self._is_broken = False

    async def close(self) -> None:
        if self._last is not None:
            await asyncio.wait([self._last])
        await self._store.close()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)
