"""Message queues in SQLite: every verb is one statement, and so one transaction."""

import asyncio
from contextlib import AbstractContextManager
from pathlib import Path

from bide.model.names import check_storable
from bide.model.queue import QueueMessage
from bide.store.arrivals import Arrivals
from bide.store.sqlite.access import Access

MESSAGE = "id, queue, body, inserted_at, dequeue_count, receipt, visible_at, expires_at"


class SqliteQueues(Access):
    """See `QueueStore`."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._arrivals = Arrivals()

    async def enqueue(
        self, queue: str, body: str, *, visible_at: int, expires_at: int | None = None, inserted_at: int | None = None
    ) -> int:
        [(message_id,)] = await self._change(
            "INSERT INTO queue_messages (queue, body, inserted_at, visible_at, expires_at) VALUES (?, ?, ?, ?, ?) RETURNING id",
            check_storable(queue, "A queue's name"),
            check_storable(body, "A message"),
            visible_at if inserted_at is None else inserted_at,
            visible_at,
            expires_at,
        )
        self._arrivals.announce(queue)
        return int(message_id)

    async def dequeue(self, queue: str, now: int, visible_at: int, limit: int) -> list[QueueMessage]:
        """Look before writing: a listener that finds nothing costs no transaction."""
        [(has_expired, has_visible)] = self._read(
            "SELECT EXISTS (SELECT 1 FROM queue_messages WHERE queue = ? AND expires_at <= ?), "
            "EXISTS (SELECT 1 FROM queue_messages WHERE queue = ? AND visible_at <= ?)",
            queue,
            now,
            queue,
            now,
        )
        if has_expired:
            await self._change("DELETE FROM queue_messages WHERE queue = ? AND expires_at <= ?", queue, now)
        if not has_visible:
            return []
        rows = await self._change(
            "UPDATE queue_messages SET taken_at = visible_at, visible_at = ?, dequeue_count = dequeue_count + 1, "
            "receipt = lower(hex(randomblob(16))) "
            "WHERE id IN (SELECT id FROM queue_messages WHERE queue = ? AND visible_at <= ? ORDER BY visible_at, id LIMIT ?) "
            f"RETURNING taken_at, {MESSAGE}",
            visible_at,
            queue,
            now,
            limit,
        )
        return [QueueMessage(*row[1:]) for row in sorted(rows, key=lambda row: row[:2])]

    async def delete_message(self, message_id: int, receipt: str) -> bool:
        rows = await self._change(
            "DELETE FROM queue_messages WHERE id = ? AND receipt = ? RETURNING id", message_id, receipt
        )
        return bool(rows)

    async def release_message(self, message_id: int, receipt: str, visible_at: int) -> bool:
        rows = await self._change(
            "UPDATE queue_messages SET visible_at = ? WHERE id = ? AND receipt = ? RETURNING queue",
            visible_at,
            message_id,
            receipt,
        )
        for (queue,) in rows:
            self._arrivals.announce(queue)
        return bool(rows)

    async def move_message(self, message_id: int, receipt: str, to_queue: str) -> bool:
        rows = await self._change(
            "UPDATE queue_messages SET queue = ?, dequeue_count = 0, receipt = NULL, visible_at = inserted_at, expires_at = NULL "
            "WHERE id = ? AND receipt = ? RETURNING id",
            check_storable(to_queue, "A queue's name"),
            message_id,
            receipt,
        )
        if rows:
            self._arrivals.announce(to_queue)
        return bool(rows)

    async def peek(self, queue: str, limit: int) -> list[QueueMessage]:
        rows = self._read(
            f"SELECT {MESSAGE} FROM queue_messages WHERE queue = ? ORDER BY visible_at, id LIMIT ?", queue, limit
        )
        return [QueueMessage(*row) for row in rows]

    async def queue_lengths(self) -> dict[str, int]:
        return dict(self._read("SELECT queue, count(*) FROM queue_messages GROUP BY queue ORDER BY queue"))

    async def next_visible_at(self, queue: str) -> int | None:
        [(visible_at,)] = self._read("SELECT min(visible_at) FROM queue_messages WHERE queue = ?", queue)
        return None if visible_at is None else int(visible_at)

    def watch_queue(self, queue: str) -> AbstractContextManager[asyncio.Event]:
        return self._arrivals.watch(queue)
