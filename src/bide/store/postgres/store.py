"""`PostgresStore`: the verbs of `Store` and `SharedStore` on one schema of a PostgreSQL database.

Commits go through the writer's connection, everything else through a pool. What only the owner asks for waits until a lost
connection of the writer can change nothing any more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from bide.errors import StoreCorruptError
from bide.model.commit import Batch, Turn
from bide.model.instance import ENDED, DeadLetter, Wait
from bide.model.names import event_key
from bide.model.partitions import partition_of, partition_of_iid
from bide.store.base import Due, InstanceFilter, Loaded, Page, StatusRecord, parse_token
from bide.store.postgres.activities import PostgresActivities
from bide.store.postgres.batch import statement, stored_event_id
from bide.store.postgres.connection import driver_errors
from bide.store.postgres.filters import UPDATED_AT, Choice, Conditions, choices_of, conditions_of
from bide.store.postgres.queues import PostgresQueues
from bide.store.postgres.settings import PostgresSettings
from bide.store.rows import ROW, dead_letter_of, record_of, row_of

T = TypeVar("T")

_RECORD = f"""{ROW},
    (SELECT data FROM history WHERE partition = i.partition AND iid = i.iid ORDER BY seq LIMIT 1),
    {UPDATED_AT}"""
_ENDED = ", ".join(str(int(status)) for status in sorted(ENDED))

_LOAD = f"""
    SELECT {ROW}, h.seqs, h.ats, h.datas, a.task_ids
    FROM unnest($1::integer[], $2::text[]) AS wanted (partition, id)
    JOIN instances AS i ON i.partition = wanted.partition AND i.id = wanted.id
    LEFT JOIN LATERAL (
        SELECT array_agg(seq ORDER BY seq) AS seqs, array_agg(at ORDER BY seq) AS ats, array_agg(data ORDER BY seq) AS datas
        FROM history WHERE partition = i.partition AND iid = i.iid
    ) AS h ON i.status NOT IN ({_ENDED})
    LEFT JOIN LATERAL (
        SELECT array_agg(task_id) AS task_ids
        FROM activities WHERE partition = i.partition AND iid = i.iid AND execution_id = i.execution_id
    ) AS a ON i.is_active
"""
_DUE = """
    SELECT next.id, next.next_timer_at FROM unnest($1::integer[]) AS held (partition) CROSS JOIN LATERAL (
        SELECT id, next_timer_at, iid FROM instances WHERE partition = held.partition AND next_timer_at IS NOT NULL
        ORDER BY next_timer_at, iid LIMIT $2::bigint
    ) AS next ORDER BY next.next_timer_at, next.iid LIMIT $2::bigint
"""
_ACTIVE = """
    SELECT next.iid, next.id FROM unnest($1::integer[]) AS held (partition) CROSS JOIN LATERAL (
        SELECT iid, id FROM instances WHERE partition = held.partition AND is_active AND iid > $2 ORDER BY iid LIMIT $3::bigint
    ) AS next ORDER BY next.iid LIMIT $3::bigint
"""

_FEW = 1000


class PostgresStore(PostgresQueues, PostgresSettings, PostgresActivities):
    """See `SharedStore`; `bide.store.postgres.options` tells how `url` is read."""

    def __init__(self, url: str, *, creates: bool = True) -> None:
        super().__init__(url)
        self._creates = creates

    # The owning partitions

    def new_iid(self, instance_id: str) -> int:
        [tenure] = self._leases.of([partition_of(instance_id, self._partitions)])
        return tenure.new_iid()

    async def load(self, instance_ids: Sequence[str]) -> list[Loaded]:
        rows = await self._own(_LOAD, [partition_of(each, self._partitions) for each in instance_ids], instance_ids)
        return [self._made(_loaded, row) for row in rows]

    async def seen_event_ids(self, pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
        stored = {(iid, stored_event_id(event_id)): (iid, event_id) for iid, event_id in pairs}
        rows = await self._own(
            "SELECT e.iid, e.event_id FROM unnest($1::integer[], $2::bigint[], $3::text[]) AS p (partition, iid, event_id) "
            "JOIN event_ids AS e ON e.partition = p.partition AND e.iid = p.iid AND e.event_id = p.event_id",
            [partition_of_iid(iid) for iid, _ in stored],
            [iid for iid, _ in stored],
            [event_id for _, event_id in stored],
        )
        return {stored[iid, event_id] for iid, event_id in rows}

    def commit(self, batch: Batch) -> Awaitable[None]:
        if self._writer is None:
            closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            closed.set_exception(self._closed())
            return closed
        return self._writer.submit(statement(batch, self._leases.held, self._channels, polls=not self.options.listens))

    async def due(self, now: int, limit: int) -> Due:
        rows = await self._own(_DUE, list(self.held), limit + 1)
        due = [instance_id for instance_id, at in rows if at <= now][:limit]
        return Due(due, rows[len(due)][1] if len(rows) > len(due) else None)

    async def active(self, after_iid: int, limit: int) -> list[tuple[int, str]]:
        return [tuple(row) for row in await self._own(_ACTIVE, list(self.held), after_iid, limit)]

    async def inbox(self, limit: int | None = None) -> list[tuple[int, bytes]]:
        sql = "SELECT key, data FROM inbox WHERE partition = ANY($1::integer[]) ORDER BY place LIMIT $2"
        return [tuple(row) for row in await self._own(sql, list(self.held), limit)]

    async def _own(self, sql: str, *values: Any) -> list[Any]:
        """Read what only the owner changes: not before a lost connection of ours can change it no more."""
        if self._writer is None:
            raise self._closed()
        await self._writer.settle()
        return await self._fetch(sql, *values)

    # Queries

    async def get(self, instance_id: str) -> StatusRecord | None:
        rows = await self._fetch(
            f"SELECT {_RECORD} FROM instances AS i WHERE i.partition = $1 AND i.id = $2", *self._place(instance_id)
        )
        return self._made(record_of, rows[0]) if rows else None

    def _place(self, instance_id: str) -> tuple[int, str]:
        with driver_errors(self.where):
            return partition_of(instance_id, self._partitions or 1), instance_id

    async def query(self, where: InstanceFilter, *, limit: int = 100, token: str | None = None) -> Page[StatusRecord]:
        conditions = conditions_of(where)
        for choice in choices_of(where):
            conditions.choose(choice, are_few=await self._are_few(choice))
        if token is not None:
            conditions.add("(i.created_at, i.iid) < (?, ?)", *parse_token(token, 2))
        newest = conditions.page(where.statuses, limit + 1)
        rows = await self._fetch(
            f"WITH page AS MATERIALIZED ({newest}) SELECT {_RECORD} "
            "FROM page JOIN instances AS i ON i.partition = page.partition AND i.iid = page.iid "
            "ORDER BY i.created_at DESC, i.iid DESC",
            *conditions.values,
        )
        return Page(
            [self._made(record_of, row) for row in rows[:limit]],
            f"{rows[limit - 1][4]}.{rows[limit - 1][0]}" if len(rows) > limit else None,
        )

    async def _are_few(self, choice: Choice) -> bool:
        found = Conditions()
        found.add(choice.index, *choice.values)
        [(count,)] = await self._fetch(
            f"SELECT count(*) FROM (SELECT 1 FROM {choice.table} WHERE {found} LIMIT {_FEW}) AS found", *found.values
        )
        return bool(count < _FEW)

    async def turns(self, instance_id: str) -> list[Turn]:
        rows = await self._fetch(
            "SELECT h.seq, h.at, h.data FROM instances AS i JOIN history AS h ON h.partition = i.partition AND h.iid = i.iid "
            "WHERE i.partition = $1 AND i.id = $2 ORDER BY h.seq",
            *self._place(instance_id),
        )
        return [Turn(*row) for row in rows]

    async def waits(
        self,
        *,
        instance_id: str | None = None,
        name: str | None = None,
        limit: int = 100,
        token: str | None = None,
    ) -> Page[Wait]:
        where = Conditions()
        if instance_id is not None:
            partition, _ = place = self._place(instance_id)
            where.add(
                "partition = ? AND iid = (SELECT iid FROM instances WHERE partition = ? AND id = ?)", partition, *place
            )
        if name is not None:
            where.add("key = ?", event_key(name))
        if token is not None:
            where.add("(since, iid, number) > (?, ?, ?)", *parse_token(token, 3))
        rows = await self._fetch(
            f"WITH page AS MATERIALIZED (SELECT * FROM waits WHERE {where} ORDER BY since, iid, number LIMIT {limit + 1:d}) "
            "SELECT w.since, w.iid, w.number, i.id, w.name, w.deadline, w.type "
            "FROM page AS w JOIN instances AS i ON i.partition = w.partition AND i.iid = w.iid "
            "ORDER BY w.since, w.iid, w.number",
            *where.values,
        )
        items = [Wait(row[3], row[2], row[4], row[0], row[5], row[6]) for row in rows[:limit]]
        return Page(items, ".".join(map(str, rows[limit - 1][:3])) if len(rows) > limit else None)

    async def dead_letters(
        self, *, instance_id: str | None = None, limit: int = 100, token: str | None = None
    ) -> Page[DeadLetter]:
        where = Conditions()
        if instance_id is not None:
            where.add("instance_id = ?", instance_id)
        if token is not None:
            where.add("number < ?", *parse_token(token, 1))
        rows = await self._fetch(
            "SELECT number, instance_id, name, input, event_id, raised_at, recorded_at, reason FROM dead_letters "
            f"WHERE {where} ORDER BY number DESC LIMIT {limit + 1:d}",
            *where.values,
        )
        items = [self._made(dead_letter_of, row) for row in rows[:limit]]
        return Page(items, str(rows[limit - 1][0]) if len(rows) > limit else None)

    async def children(self, instance_ids: Sequence[str]) -> list[str]:
        rows = await self._fetch("SELECT id FROM instances WHERE parent_instance_id = ANY($1::text[])", instance_ids)
        return [instance_id for (instance_id,) in rows]

    async def expire_dead_letters(self, before: int) -> int:
        [(count,)] = await self._fetch(
            "WITH old AS (DELETE FROM dead_letters WHERE recorded_at < $1 RETURNING 1) SELECT count(*) FROM old", before
        )
        return int(count)

    def _made(self, make: Callable[[Sequence[Any]], T], row: Sequence[Any]) -> T:
        """Make a value of a row; that it cannot be made is damage."""
        try:
            return make(row)
        except (ValueError, TypeError) as error:
            raise StoreCorruptError(
                f"{self.where} is damaged: the row of {row[1]!r} cannot be read: {error}. Restore a backup."
            ) from error


def _loaded(columns: Sequence[Any]) -> Loaded:
    turns = zip(columns[18] or (), columns[19] or (), columns[20] or (), strict=True)
    return Loaded(row_of(columns), [Turn(*turn) for turn in turns], frozenset(columns[21] or ()))
