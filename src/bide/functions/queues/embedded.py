"""Queues in bide's own store: nothing to install, and a message that was sent in this process is handled at once."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from bide.functions.queues.base import POISON_SUFFIX, Handle, ReceivedMessage, as_text
from bide.functions.queues.pump import LEASE_SECONDS, Delivery, Pump, take_whole
from bide.functions.settings import QueueSettings
from bide.model.clock import SECOND, Clock, span_micros, to_datetime
from bide.model.names import check_queue_name
from bide.model.queue import QueueMessage
from bide.runtime.queues import send
from bide.store.base import QueueStore

_log = logging.getLogger("bide.functions.queues")


class EmbeddedListener:
    """See `Listener`. Text is stored as it is: `is_base64` is about Azure's service, and means nothing here."""

    def __init__(self, store: QueueStore, queue: str, settings: QueueSettings, clock: Clock) -> None:
        self._store = store
        self._queue = check_queue_name(queue)
        self._settings = settings
        self._clock = clock

    async def run(self, handle: Handle) -> None:
        with self._store.watch_queue(self._queue) as arrived:
            source = _Source(self._store, self._queue, self._settings, self._clock, arrived)
            await Pump(self._queue, source, handle, self._settings).run()


class EmbeddedSender:
    """See `Sender`."""

    def __init__(self, store: QueueStore, queue: str, clock: Clock) -> None:
        self._store = store
        self._queue = check_queue_name(queue)
        self._clock = clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def send(self, body: str | bytes, delay: timedelta | float | None = None) -> None:
        """Send a message; with `delay`, a number is in seconds, it is hidden for that long."""
        await send(self._store, self._queue, as_text(body), self._clock.now(), delay)


class _Source:
    def __init__(
        self, store: QueueStore, queue: str, settings: QueueSettings, clock: Clock, arrived: asyncio.Event
    ) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._clock = clock
        self._arrived = arrived

    async def take(self, limit: int) -> Sequence[Delivery]:
        while True:
            self._arrived.clear()  # before looking: what comes while we look is not missed
            taken = await take_whole(self._dequeue(limit))
            if taken:
                return taken
            await self._wait()

    async def _dequeue(self, limit: int) -> Sequence[Delivery]:
        now = self._clock.now()
        messages = await self._store.dequeue(self._queue, now, now + LEASE_SECONDS * SECOND, limit)
        return [_Delivery(self._store, message, self._settings, self._clock) for message in messages]

    async def _wait(self) -> None:
        """Wait for a message to arrive, or a hidden one to become visible."""
        visible_at = await self._store.next_visible_at(self._queue)
        alarm = None if visible_at is None else self._clock.call_at(visible_at, self._arrived.set)
        try:
            await self._arrived.wait()
        finally:
            if alarm is not None:
                alarm.cancel()


class _Delivery:
    def __init__(self, store: QueueStore, stored: QueueMessage, settings: QueueSettings, clock: Clock) -> None:
        assert stored.receipt is not None
        self._store = store
        self._stored = stored
        self._receipt = stored.receipt
        self._settings = settings
        self._clock = clock
        self.is_spent = stored.dequeue_count > settings.max_dequeue_count
        self.message = ReceivedMessage(
            id=str(stored.id),
            body=stored.body.encode(),
            dequeue_count=stored.dequeue_count,
            inserted_at=to_datetime(stored.inserted_at),
            expires_at=None if stored.expires_at is None else to_datetime(stored.expires_at),
            next_visible_at=to_datetime(stored.visible_at),
            pop_receipt=stored.receipt,
        )

    async def done(self) -> None:
        await self._store.delete_message(self._stored.id, self._receipt)

    async def failed(self) -> None:
        if self._stored.dequeue_count < self._settings.max_dequeue_count:
            await self._release(span_micros(self._settings.visibility_timeout))
            return
        poison = self._stored.queue + POISON_SUFFIX
        if await self._store.move_message(self._stored.id, self._receipt, poison):
            _log.error(
                "queue %s: message %d failed %d times and is in %s now",
                self._stored.queue,
                self._stored.id,
                self._stored.dequeue_count,
                poison,
            )

    async def give_back(self) -> None:
        await self._release(0)

    async def renew(self) -> None:
        await self._release(LEASE_SECONDS * SECOND)

    async def _release(self, span: int) -> None:
        await self._store.release_message(self._stored.id, self._receipt, self._clock.now() + span)
