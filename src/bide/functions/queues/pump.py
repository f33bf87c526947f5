"""Moves messages from a queue to a function: how many at a time, how often, and what becomes of them.

What differs between queues stands behind `Source` and `Delivery`. A message is renewed while its handler runs, so that the
queue may take it away soon from a process that died, and never from one that is busy.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from bide.errors import ConfigurationError, InvalidInputError
from bide.functions.queues.base import Handle, ReceivedMessage
from bide.functions.settings import QueueSettings

_log = logging.getLogger("bide.functions.queues")

LEASE_SECONDS = 60
"""For so long a delivered message is hidden: after a crash it comes back that soon."""
_RENEW_SECONDS = 20.0
_DRAIN_SECONDS = 10.0
"""As long as Azure's host gives functions when it stops."""
_GIVE_BACK_SECONDS = 3.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0


class Delivery(Protocol):
    """A message that was delivered and has to be settled: by `done`, `failed` or `give_back`, once."""

    @property
    def message(self) -> ReceivedMessage: ...

    @property
    def is_spent(self) -> bool:
        """Whether it is not to be handled any more: it cannot be read, or took its process down with it too often."""
        ...

    async def done(self) -> None:
        """Remove the message."""
        ...

    async def failed(self) -> None:
        """Let it be tried again later, or move it to the poison queue if this was the last attempt."""
        ...

    async def give_back(self) -> None:
        """Let somebody else have it at once: its handler was interrupted."""
        ...

    async def renew(self) -> None:
        """Keep it hidden for `LEASE_SECONDS` from now."""
        ...


class Source(Protocol):
    """A queue that messages are taken from."""

    async def take(self, limit: int) -> Sequence[Delivery]:
        """Wait until there are messages, and take up to `limit`. When cancelled it gives back what it has taken."""
        ...


async def take_whole(
    taking: Awaitable[Sequence[Delivery]], *, patience: float = _GIVE_BACK_SECONDS
) -> Sequence[Delivery]:
    """Await a request for messages; when cancelled meanwhile, give back what it brings."""
    request = asyncio.ensure_future(taking)
    try:
        return await asyncio.shield(request)
    except asyncio.CancelledError:
        await asyncio.wait({request}, timeout=patience)
        if not request.done():
            request.cancel()
        elif not request.cancelled() and request.exception() is None:
            await asyncio.gather(*(delivery.give_back() for delivery in request.result()), return_exceptions=True)
        raise


class Pump:
    """Handles up to `batch_size` messages at a time; takes new ones when fewer than half as many are under way."""

    def __init__(self, queue: str, source: Source, handle: Handle, settings: QueueSettings) -> None:
        self._queue = queue
        self._source = source
        self._handle = handle
        self._settings = settings
        self._running: set[asyncio.Task[None]] = set()
        self._pause = 0.0

    async def run(self) -> None:
        """Go on until cancelled; see `Listener.run`."""
        try:
            while True:
                limit = await self._room()
                for delivery in await self._take(limit):
                    self._running.add(asyncio.create_task(self._work(delivery), name=f"bide-queue-{self._queue}"))
        finally:
            await self._drain()

    async def _room(self) -> int:
        size = self._settings.batch_size
        while len(self._running) * 2 >= size:
            _, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        self._running = {task for task in self._running if not task.done()}
        return size - len(self._running)

    async def _take(self, limit: int) -> Sequence[Delivery]:
        try:
            taken = await self._source.take(limit)
        except (ConfigurationError, InvalidInputError):
            raise
        except Exception as error:  # noqa: BLE001  (a loop survives a bad turn: a queue may be away for a while)
            await self._rest(error)
            return ()
        if self._pause:
            _log.warning("queue %s: messages come again", self._queue)
            self._pause = 0.0
        return taken

    async def _rest(self, error: Exception) -> None:
        """Say once what is wrong, and wait, longer each time."""
        if not self._pause:
            _log.error("queue %s: no messages for now: %s", self._queue, error)
            self._pause = _FIRST_PAUSE_SECONDS
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _work(self, delivery: Delivery) -> None:
        if delivery.is_spent:
            await self._settle(delivery, delivery.failed)
            return
        handling = asyncio.ensure_future(self._handled(delivery.message))
        try:
            while not (await asyncio.wait({handling}, timeout=_RENEW_SECONDS))[0]:
                await self._settle(delivery, delivery.renew)
        except asyncio.CancelledError:
            handling.cancel()
            await asyncio.wait({handling}, timeout=_GIVE_BACK_SECONDS)
            await self._settle(delivery, delivery.give_back)
            raise
        has_succeeded = not handling.cancelled() and handling.result()
        await self._settle(delivery, delivery.done if has_succeeded else delivery.failed)

    async def _handled(self, message: ReceivedMessage) -> bool:
        try:
            await self._handle(message)
        except Exception:  # noqa: BLE001  (the border to user code: whatever it raises, the message has failed)
            _log.debug(
                "queue %s: attempt %d of %s failed", self._queue, message.dequeue_count, message.id, exc_info=True
            )
            return False
        return True

    async def _settle(self, delivery: Delivery, verb: Callable[[], Awaitable[None]]) -> None:
        try:
            await verb()
        except Exception as error:  # noqa: BLE001  (the queue cannot be reached: the message comes again by itself)
            _log.warning("queue %s: message %s comes again: %s", self._queue, delivery.message.id, error)

    async def _drain(self) -> None:
        """Wait for handlers that run; interrupt those that take too long."""
        try:
            if self._running:
                await asyncio.wait(self._running, timeout=_DRAIN_SECONDS)
        finally:
            late = {task for task in self._running if not task.done()}
            for task in late:
                task.cancel()
        if late:
            await asyncio.wait(late, timeout=2 * _GIVE_BACK_SECONDS)
