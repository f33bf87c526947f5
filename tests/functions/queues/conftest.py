import asyncio
import contextlib

import pytest

from bide.store import MemoryStore, SqliteStore


class Recorder:
    """A handler that notes what it gets; `act` is called with each message, and may raise."""

    def __init__(self, act=None):
        self.messages = []
        self._act = act
        self._changed = asyncio.Condition()

    async def __call__(self, message):
        async with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
        if self._act is not None:
            await self._act(message)

    @property
    def bodies(self):
        return [message.body for message in self.messages]

    async def until(self, count, seconds=10):
        """Wait until so many messages have come."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.messages) >= count)


@pytest.fixture
def recorder():
    return Recorder


@pytest.fixture
def listening():
    """Run a listener inside of `async with`; at its end it has settled everything."""

    @contextlib.asynccontextmanager
    async def listening(listener, handle):
        task = asyncio.create_task(listener.run(handle))
        try:
            yield task
        finally:
            if not task.cancelling():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return listening


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request, tmp_path):
    """Make stores on the same data."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "queues.db")
    store = MemoryStore()
    return lambda: store


@pytest.fixture
async def store(make_store):
    store = make_store()
    await store.open()
    yield store
    await store.close()
