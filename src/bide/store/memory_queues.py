"""Message queues and settings in memory."""

import asyncio
from contextlib import AbstractContextManager
from uuid import uuid4

from msgspec.structs import replace

from bide.errors import StoreUnavailableError
from bide.model.names import check_storable
from bide.model.queue import QueueMessage
from bide.store.arrivals import Arrivals


class MemoryQueues:
    """See `QueueStore` and `SettingStore`."""

    def __init__(self) -> None:
        self._messages: dict[int, QueueMessage] = {}
        self._last_message = 0
        self._arrivals = Arrivals()
        self._settings: dict[str, str] = {}
        self._is_open = False

    async def enqueue(
        self, queue: str, body: str, *, visible_at: int, expires_at: int | None = None, inserted_at: int | None = None
    ) -> int:
        check_storable(queue, "A queue's name")
        check_storable(body, "A message")
        self._check_open()
        self._last_message += 1
        self._messages[self._last_message] = QueueMessage(
            id=self._last_message,
            queue=queue,
            body=body,
            inserted_at=visible_at if inserted_at is None else inserted_at,
            dequeue_count=0,
            receipt=None,
            visible_at=visible_at,
            expires_at=expires_at,
        )
        self._arrivals.announce(queue)
        return self._last_message

    async def dequeue(self, queue: str, now: int, visible_at: int, limit: int) -> list[QueueMessage]:
        self._check_open()
        for message in self._of(queue):
            if message.expires_at is not None and message.expires_at <= now:
                del self._messages[message.id]
        taken = [
            replace(message, visible_at=visible_at, dequeue_count=message.dequeue_count + 1, receipt=uuid4().hex)
            for message in self._of(queue)
            if message.visible_at <= now
        ][:limit]
        self._messages.update((message.id, message) for message in taken)
        return taken

    async def delete_message(self, message_id: int, receipt: str) -> bool:
        if self._held(message_id, receipt) is None:
            return False
        del self._messages[message_id]
        return True

    async def release_message(self, message_id: int, receipt: str, visible_at: int) -> bool:
        message = self._held(message_id, receipt)
        if message is None:
            return False
        self._messages[message_id] = replace(message, visible_at=visible_at)
        self._arrivals.announce(message.queue)
        return True

    async def move_message(self, message_id: int, receipt: str, to_queue: str) -> bool:
        check_storable(to_queue, "A queue's name")
        message = self._held(message_id, receipt)
        if message is None:
            return False
        self._messages[message_id] = replace(
            message, queue=to_queue, dequeue_count=0, receipt=None, visible_at=message.inserted_at, expires_at=None
        )
        self._arrivals.announce(to_queue)
        return True

    async def peek(self, queue: str, limit: int) -> list[QueueMessage]:
        self._check_open()
        return self._of(queue)[:limit]

    async def queue_lengths(self) -> dict[str, int]:
        self._check_open()
        names = sorted({message.queue for message in self._messages.values()})
        return {name: len(self._of(name)) for name in names}

    async def next_visible_at(self, queue: str) -> int | None:
        self._check_open()
        return min((message.visible_at for message in self._of(queue)), default=None)

    def watch_queue(self, queue: str) -> AbstractContextManager[asyncio.Event]:
        return self._arrivals.watch(queue)

    async def get_setting(self, name: str) -> str | None:
        self._check_open()
        return self._settings.get(name)

    async def put_setting(self, name: str, value: str | None) -> None:
        check_storable(name, "The name of a setting")
        self._check_open()
        if value is None:
            self._settings.pop(name, None)
        else:
            self._settings[name] = check_storable(value, f"The value of setting {name!r}")

    async def replace_setting(self, name: str, old: str | None, new: str) -> bool:
        if self._settings.get(name) != old:
            return False
        await self.put_setting(name, new)
        return True

    async def settings(self, prefix: str) -> dict[str, str]:
        self._check_open()
        return {name: value for name, value in sorted(self._settings.items()) if name.startswith(prefix)}

    def _of(self, queue: str) -> list[QueueMessage]:
        """The messages of a queue, in the order of delivery."""
        found = [message for message in self._messages.values() if message.queue == queue]
        return sorted(found, key=lambda message: (message.visible_at, message.id))

    def _held(self, message_id: int, receipt: str) -> QueueMessage | None:
        self._check_open()
        message = self._messages.get(message_id)
        return message if message is not None and message.receipt == receipt else None

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailableError("The store is closed.")
