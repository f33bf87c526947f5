"""`SqliteStore`: the verbs of `Store` on one SQLite file.

Commits go to the writer thread. Reads run where they are called, on a connection of their own: they take some 25 us,
less than handing them to a thread would, and see what is committed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from bide.errors import StoreCorruptError
from bide.model.commit import Batch, Turn
from bide.model.instance import ENDED, DeadLetter, Wait
from bide.model.names import event_key
from bide.store.base import Due, InstanceFilter, Loaded, Page, StatusRecord, parse_token
from bide.store.rows import ROW, dead_letter_of, record_of, row_of
from bide.store.sqlite.batch import INSERT, parameters
from bide.store.sqlite.queues import SqliteQueues
from bide.store.sqlite.settings import SqliteSettings

T = TypeVar("T")

_UPDATED_AT = "(SELECT at FROM history WHERE iid = i.iid ORDER BY seq DESC LIMIT 1)"
_RECORD = f"""{ROW},
    (SELECT data FROM history WHERE iid = i.iid ORDER BY seq LIMIT 1),
    {_UPDATED_AT}"""

_FEW = 1000
_LAST = "\U0010ffff"
"""Sorts after every character that an id may have."""


class SqliteStore(SqliteQueues, SqliteSettings):
    """See `Store`. `path` is created when it is not there; beside it stand `-wal`, `-shm` and `.lock` files."""

    # The owning partition

    async def open(self) -> None:
        await super().open()
        self._last_iid = 0
        try:
            [(self._last_iid,)] = self._read("SELECT last_iid FROM meta")
        except BaseException:
            await self.close()
            raise

    def new_iid(self, instance_id: str) -> int:  # noqa: ARG002
        last: int = self._last_iid + 1
        self._last_iid = last
        return last

    async def load(self, instance_ids: Sequence[str]) -> list[Loaded]:
        ids = msgspec.json.encode(instance_ids).decode()
        rows = self._read(f"SELECT {ROW} FROM json_each(?) AS wanted JOIN instances AS i ON i.id = wanted.value", ids)
        turns: dict[int, list[Turn]] = {row[0]: [] for row in rows if row[3] not in ENDED}
        if turns:
            for iid, seq, at, data in self._read(
                "SELECT iid, seq, at, data FROM history WHERE iid IN (SELECT value FROM json_each(?)) ORDER BY iid, seq",
                msgspec.json.encode(list(turns)).decode(),
            ):
                turns[iid].append(Turn(seq, at, data))
        return [Loaded(self._made(row_of, row), turns.get(row[0], [])) for row in rows]

    async def seen_event_ids(self, pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
        found = self._read(
            "SELECT e.iid, e.event_id FROM json_each(?) AS p "
            "JOIN event_ids AS e ON e.iid = p.value->>0 AND e.event_id = p.value->>1",
            msgspec.json.encode(pairs).decode(),
        )
        return {(iid, event_id) for iid, event_id in found}

    def commit(self, batch: Batch) -> Awaitable[None]:
        if self._writer is None:
            closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            closed.set_exception(self._closed())
            return closed
        return self._writer.submit((INSERT, parameters(batch)))

    async def due(self, now: int, limit: int) -> Due:
        rows = self._read(
            "SELECT id, next_timer_at FROM instances WHERE next_timer_at IS NOT NULL ORDER BY next_timer_at, iid LIMIT ?",
            limit + 1,
        )
        due = [instance_id for instance_id, at in rows if at <= now][:limit]
        return Due(due, rows[len(due)][1] if len(rows) > len(due) else None)

    async def active(self, after_iid: int, limit: int) -> list[tuple[int, str]]:
        return self._read(
            "SELECT iid, id FROM instances WHERE is_active AND iid > ? ORDER BY iid LIMIT ?", after_iid, limit
        )

    async def inbox(self, limit: int | None = None) -> list[tuple[int, bytes]]:
        return self._read("SELECT key, data FROM inbox ORDER BY key LIMIT ?", -1 if limit is None else limit)

    # Queries

    async def get(self, instance_id: str) -> StatusRecord | None:
        rows = self._read(f"SELECT {_RECORD} FROM instances AS i WHERE i.id = ?", instance_id)
        return self._made(record_of, rows[0]) if rows else None

    async def query(self, where: InstanceFilter, *, limit: int = 100, token: str | None = None) -> Page[StatusRecord]:
        conditions, values = _conditions(where)
        for condition, more in self._selective(where):
            conditions.append(condition)
            values.extend(more)
        if token is not None:
            conditions.append("i.iid < ?")
            values.extend(parse_token(token, 1))
        sql = f"SELECT {_RECORD} FROM instances AS i WHERE {' AND '.join(conditions)} ORDER BY i.iid DESC LIMIT ?"
        rows = self._read(sql, *values, limit + 1)
        return Page(
            [self._made(record_of, row) for row in rows[:limit]], str(rows[limit - 1][0]) if len(rows) > limit else None
        )

    def _selective(self, where: InstanceFilter) -> Iterable[tuple[str, tuple[Any, ...]]]:
        """Conditions that an index answers. What many rows meet is found sooner by looking through the newest.

        `+` keeps SQLite from using an index: it would have to sort all that the index finds.
        """
        if where.id_prefix is not None:
            bounds = (where.id_prefix, where.id_prefix + _LAST)
            few = self._are_few("instances WHERE id >= ? AND id < ?", *bounds)
            yield ("i.id >= ? AND i.id < ?" if few else "+i.id >= ? AND +i.id < ?"), bounds
        if where.waiting_for is not None:
            key = (event_key(where.waiting_for),)
            if self._are_few("waits WHERE key = ?", *key):
                yield "i.iid IN (SELECT iid FROM waits WHERE key = ?)", key
            else:
                yield "EXISTS (SELECT 1 FROM waits WHERE iid = i.iid AND +key = ?)", key

    def _are_few(self, rows: str, *values: Any) -> bool:
        [(count,)] = self._read(f"SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT {_FEW})", *values)
        return bool(count < _FEW)

    async def turns(self, instance_id: str) -> list[Turn]:
        rows = self._read(
            "SELECT h.seq, h.at, h.data FROM history AS h JOIN instances AS i USING (iid) WHERE i.id = ? ORDER BY h.seq",
            instance_id,
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
        conditions: list[str] = ["1"]
        values: list[Any] = []
        if instance_id is not None:
            conditions.append("w.iid = (SELECT iid FROM instances WHERE id = ?)")
            values.append(instance_id)
        if name is not None:
            conditions.append("w.key = ?")
            values.append(event_key(name))
        if token is not None:
            conditions.append("(w.since, w.iid, w.number) > (?, ?, ?)")
            values.extend(parse_token(token, 3))
        rows = self._read(
            "SELECT w.since, w.iid, w.number, i.id, w.name, w.deadline, w.type FROM waits AS w JOIN instances AS i USING (iid) "
            f"WHERE {' AND '.join(conditions)} ORDER BY w.since, w.iid, w.number LIMIT ?",
            *values,
            limit + 1,
        )
        items = [Wait(row[3], row[2], row[4], row[0], row[5], row[6]) for row in rows[:limit]]
        return Page(items, ".".join(map(str, rows[limit - 1][:3])) if len(rows) > limit else None)

    async def dead_letters(
        self, *, instance_id: str | None = None, limit: int = 100, token: str | None = None
    ) -> Page[DeadLetter]:
        conditions: list[str] = ["1"]
        values: list[Any] = []
        if instance_id is not None:
            conditions.append("instance_id = ?")
            values.append(instance_id)
        if token is not None:
            conditions.append("number < ?")
            values.extend(parse_token(token, 1))
        rows = self._read(
            "SELECT number, instance_id, name, input, event_id, raised_at, recorded_at, reason FROM dead_letters "
            f"WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?",
            *values,
            limit + 1,
        )
        items = [self._made(dead_letter_of, row) for row in rows[:limit]]
        return Page(items, str(rows[limit - 1][0]) if len(rows) > limit else None)

    async def children(self, instance_ids: Sequence[str]) -> list[str]:
        rows = self._read(
            "SELECT id FROM instances WHERE parent_instance_id IN (SELECT value FROM json_each(?))",
            msgspec.json.encode(instance_ids).decode(),
        )
        return [instance_id for (instance_id,) in rows]

    async def expire_dead_letters(self, before: int) -> int:
        [(count,)] = self._read("SELECT count(*) FROM dead_letters WHERE recorded_at < ?", before)
        if count:
            await self._change("DELETE FROM dead_letters WHERE recorded_at < ?", before)
        return int(count)

    def _made(self, make: Callable[[Sequence[Any]], T], row: Sequence[Any]) -> T:
        """Make a value of a row; that it cannot be made is damage."""
        try:
            return make(row)
        except (ValueError, TypeError) as error:
            raise StoreCorruptError(
                f"{self.path} is damaged: the row of {row[1]!r} cannot be read: {error}. Restore a backup."
            ) from error


def _conditions(where: InstanceFilter) -> tuple[list[str], list[Any]]:
    """SQL conditions, each with its values, joined by "and"; without those of `_selective`."""
    # An index is of use for the few that are entities; for all others it would be in the way of the order.
    parts: list[tuple[str, Iterable[Any]]] = [
        ("i.id >= '@' AND i.id < 'A'" if where.entities else "substr(i.id, 1, 1) <> '@'", ())
    ]
    if where.statuses is not None:
        parts.append((f"i.status IN ({', '.join(str(int(status)) for status in where.statuses) or 'NULL'})", ()))
    if where.created_from is not None:
        parts.append(("i.created_at >= ?", (where.created_from,)))
    if where.created_to is not None:
        parts.append(("i.created_at <= ?", (where.created_to,)))
    if where.updated_from is not None:
        parts.append((f"{_UPDATED_AT} >= ?", (where.updated_from,)))
    if where.updated_to is not None:
        parts.append((f"{_UPDATED_AT} <= ?", (where.updated_to,)))
    if where.ended_before is not None:
        parts.append(("i.ended_at < ?", (where.ended_before,)))
    if where.name is not None:
        parts.append(("i.name = ?", (where.name,)))
    return [sql for sql, _ in parts], [value for _, values in parts for value in values]
