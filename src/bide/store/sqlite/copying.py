"""A file as source and as target of a copy."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bide.errors import StoreUnavailableError, StoreVersionError
from bide.model.commit import Batch, Turn
from bide.model.instance import DeadLetter, Wait
from bide.model.queue import QueueMessage
from bide.store.copying import TABLES, Copied
from bide.store.rows import ROW, dead_letter_of, row_of
from bide.store.sqlite.batch import INSERT, SETUP, parameters
from bide.store.sqlite.connection import driver_errors, migrate, open_database, version_of
from bide.store.sqlite.ownership import Ownership
from bide.store.sqlite.queues import MESSAGE

_AT_A_TIME = 200


class _File:
    """A connection, and the lock that keeps hubs out."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._path = path.absolute()
        self.name = str(self._path)
        self._ownership = Ownership(self._path)
        self._ownership.acquire()
        try:
            self._connection = open_database(self._path, read_only=read_only)
        except BaseException:
            self._ownership.release()
            raise

    async def close(self) -> None:
        self._connection.close()
        self._ownership.release()

    def _execute(self, sql: str, *values: Any) -> Iterator[Any]:
        with driver_errors(self._path):
            yield from self._connection.execute(sql, values)

    async def counts(self) -> dict[str, int]:
        return {table: next(self._execute(f"SELECT count(*) FROM {table}"))[0] for table in TABLES}


class SqliteSource(_File):
    """See `Source`. The schema must be this bide's (`StoreVersionError`); raises what opening a store raises."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise StoreUnavailableError(f"There is no file {path.absolute()}. Is the path right?")
        super().__init__(path, read_only=True)
        with driver_errors(self._path):
            before, ours = version_of(self._connection, self._path)
        if before != ours:
            self._connection.close()
            self._ownership.release()
            way_out = "Run 'bide db upgrade' first." if before < ours else "Upgrade bide."
            raise StoreVersionError(f"{path} has schema {before}; this bide copies schema {ours}. {way_out}")

    async def instances(self) -> AsyncIterator[list[Copied]]:
        after = 0
        while rows := list(
            self._execute(f"SELECT {ROW} FROM instances AS i WHERE i.iid > ? ORDER BY i.iid LIMIT ?", after, _AT_A_TIME)
        ):
            after = rows[-1][0]
            yield [self._copied(row) for row in rows]

    def _copied(self, columns: Sequence[Any]) -> Copied:
        row = row_of(columns)
        turns = self._execute("SELECT seq, at, data FROM history WHERE iid = ? ORDER BY seq", row.iid)
        waits = self._execute("SELECT number, name, since, deadline, type FROM waits WHERE iid = ?", row.iid)
        event_ids = self._execute("SELECT event_id FROM event_ids WHERE iid = ?", row.iid)
        return Copied(
            row,
            [Turn(*turn) for turn in turns],
            [Wait(row.instance_id, *wait) for wait in waits],
            [event_id for (event_id,) in event_ids],
        )

    async def dead_letters(self) -> AsyncIterator[list[DeadLetter]]:
        sql = (
            "SELECT number, instance_id, name, input, event_id, raised_at, recorded_at, reason FROM dead_letters "
            "WHERE number > ? ORDER BY number LIMIT ?"
        )
        after = 0
        while rows := list(self._execute(sql, after, _AT_A_TIME)):
            after = rows[-1][0]
            yield [dead_letter_of(row) for row in rows]

    async def messages(self) -> list[bytes]:
        return [data for (data,) in self._execute("SELECT data FROM inbox ORDER BY key")]

    async def queue_messages(self) -> AsyncIterator[list[QueueMessage]]:
        after = 0
        sql = f"SELECT {MESSAGE} FROM queue_messages WHERE id > ? ORDER BY id LIMIT ?"
        while rows := list(self._execute(sql, after, _AT_A_TIME)):
            after = rows[-1][0]
            yield [QueueMessage(*row) for row in rows]

    async def settings(self) -> dict[str, str]:
        return dict(self._execute("SELECT name, value FROM settings"))


class SqliteTarget(_File):
    """See `Target`. The file is made when it is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, read_only=False)
        try:
            migrate(self._connection, self._path)
            with driver_errors(self._path):
                self._connection.executescript(SETUP)
                self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._connection.close()
            self._ownership.release()
            raise

    def new_iid(self, instance_id: str, number: int) -> int:  # noqa: ARG002
        return number

    def partition_of(self, instance_id: str) -> int:  # noqa: ARG002
        return 0

    async def write(self, batch: Batch) -> None:
        with driver_errors(self._path):
            self._connection.execute(INSERT, parameters(batch))

    async def write_queue_messages(self, messages: Sequence[QueueMessage]) -> None:
        with driver_errors(self._path):
            self._connection.executemany(
                f"INSERT INTO queue_messages ({MESSAGE}, taken_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((*msgspec.structs.astuple(each), each.visible_at if each.receipt else None) for each in messages),
            )

    async def write_settings(self, settings: dict[str, str]) -> None:
        with driver_errors(self._path):
            self._connection.executemany("INSERT INTO settings (name, value) VALUES (?, ?)", settings.items())

    async def commit(self) -> None:
        with driver_errors(self._path):
            self._connection.execute("COMMIT")
