"""Message queues in PostgreSQL: every verb is one statement, and so one transaction.

Whoever takes messages skips those that somebody else is just taking. Whoever adds one notifies the other nodes that listen to
its queue.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from functools import partial

from bide.errors import BideError
from bide.model.names import check_storable
from bide.model.queue import QueueMessage
from bide.store.arrivals import Arrivals
from bide.store.postgres.access import Access

MESSAGE = "id, queue, body, inserted_at, dequeue_count, receipt, visible_at, expires_at"


class PostgresQueues(Access):
    """See `QueueStore`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._arrivals = Arrivals()
        self._signature = uuid.uuid4().hex[:12]  # tells our notices from those of others
        self._watching: set[asyncio.Task[None]] = set()

    async def enqueue(
        self, queue: str, body: str, *, visible_at: int, expires_at: int | None = None, inserted_at: int | None = None
    ) -> int:
        rows = await self._fetch(
            "WITH new AS (INSERT INTO queue_messages (queue, body, inserted_at, visible_at, expires_at) "
            f"VALUES ($1, $2, $3, $4, $5) RETURNING id) SELECT id{self._notify(6)} FROM new",
            check_storable(queue, "A queue's name"),
            check_storable(body, "A message"),
            visible_at if inserted_at is None else inserted_at,
            visible_at,
            expires_at,
            *self._notice(queue),
        )
        self._arrivals.announce(queue)
        return int(rows[0][0])

    async def dequeue(self, queue: str, now: int, visible_at: int, limit: int) -> list[QueueMessage]:
        """Look before writing: a listener that finds nothing costs no transaction."""
        [(has_expired, has_visible)] = await self._fetch(
            "SELECT EXISTS (SELECT 1 FROM queue_messages WHERE queue = $1 AND expires_at <= $2), "
            "EXISTS (SELECT 1 FROM queue_messages WHERE queue = $1 AND visible_at <= $2)",
            queue,
            now,
        )
        if has_expired:
            await self._fetch("DELETE FROM queue_messages WHERE queue = $1 AND expires_at <= $2", queue, now)
        if not has_visible:
            return []
        rows = await self._fetch(
            "WITH taken AS (SELECT id, visible_at AS was_visible_at FROM queue_messages WHERE queue = $1 AND visible_at <= $2 "
            "ORDER BY visible_at, id LIMIT $3 FOR UPDATE SKIP LOCKED) "
            "UPDATE queue_messages AS m SET visible_at = $4, dequeue_count = dequeue_count + 1, "
            "receipt = md5($5 || m.id || '.' || dequeue_count) "
            f"FROM taken WHERE m.id = taken.id RETURNING was_visible_at, m.{MESSAGE.replace(', ', ', m.')}",
            queue,
            now,
            limit,
            visible_at,
            uuid.uuid4().hex,
        )
        return [QueueMessage(*row[1:]) for row in sorted(rows, key=lambda row: row[:2])]

    async def delete_message(self, message_id: int, receipt: str) -> bool:
        rows = await self._fetch(
            "DELETE FROM queue_messages WHERE id = $1 AND receipt = $2 RETURNING id", message_id, receipt
        )
        return bool(rows)

    async def release_message(self, message_id: int, receipt: str, visible_at: int) -> bool:
        rows = await self._fetch(
            "UPDATE queue_messages SET visible_at = $3 WHERE id = $1 AND receipt = $2 RETURNING queue",
            message_id,
            receipt,
            visible_at,
        )
        for (queue,) in rows:
            await self._announce(queue)
        return bool(rows)

    async def move_message(self, message_id: int, receipt: str, to_queue: str) -> bool:
        rows = await self._fetch(
            "WITH moved AS (UPDATE queue_messages "
            "SET queue = $3, dequeue_count = 0, receipt = NULL, visible_at = inserted_at, expires_at = NULL "
            f"WHERE id = $1 AND receipt = $2 RETURNING id) SELECT id{self._notify(4)} FROM moved",
            message_id,
            receipt,
            check_storable(to_queue, "A queue's name"),
            *self._notice(to_queue),
        )
        if rows:
            self._arrivals.announce(to_queue)
        return bool(rows)

    async def peek(self, queue: str, limit: int) -> list[QueueMessage]:
        rows = await self._fetch(
            f"SELECT {MESSAGE} FROM queue_messages WHERE queue = $1 ORDER BY visible_at, id LIMIT $2", queue, limit
        )
        return [QueueMessage(*row) for row in rows]

    async def queue_lengths(self) -> dict[str, int]:
        return dict(await self._fetch("SELECT queue, count(*) FROM queue_messages GROUP BY queue ORDER BY queue"))

    async def next_visible_at(self, queue: str) -> int | None:
        [(visible_at,)] = await self._fetch("SELECT min(visible_at) FROM queue_messages WHERE queue = $1", queue)
        return None if visible_at is None else int(visible_at)

    @contextlib.contextmanager
    def watch_queue(self, queue: str) -> Iterator[asyncio.Event]:
        task = asyncio.get_running_loop().create_task(self._hear_queue(queue))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        with self._arrivals.watch(queue) as event:
            yield event

    async def close(self) -> None:
        for task in self._watching:
            task.cancel()
        await super().close()

    async def _hear_queue(self, queue: str) -> None:
        """Listen to what other nodes add. The connection goes on listening when nobody watches any more."""
        with contextlib.suppress(BideError):  # then `_on_gap` tells when it listens
            await self._to_notices().listen({self._channels.queue(queue): partial(self._on_arrival, queue)})
            if await self.next_visible_at(queue) is not None:
                self._arrivals.announce(queue)  # it may have come before

    def _on_arrival(self, queue: str, payload: str) -> None:
        if payload != self._signature:
            self._arrivals.announce(queue)

    def _on_gap(self) -> None:
        super()._on_gap()
        self._arrivals.announce_all()

    async def _announce(self, queue: str) -> None:
        self._arrivals.announce(queue)
        if self.options.listens:
            await self._fetch("SELECT pg_notify($1, $2)", *self._notice(queue))

    def _notify(self, place: int) -> str:
        """SQL of a column that notifies, with its values from `place` on."""
        return f", pg_notify(${place}, ${place + 1})" if self.options.listens else ""

    def _notice(self, queue: str) -> tuple[str, ...]:
        return (self._channels.queue(queue), self._signature) if self.options.listens else ()
