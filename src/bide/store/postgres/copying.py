"""A schema as source and as target of a copy."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import msgspec

from bide.errors import StoreLockedError, StoreVersionError
from bide.model.codec import decode_turn
from bide.model.commit import Batch, Turn
from bide.model.events import EventRaised
from bide.model.instance import DeadLetter, Wait
from bide.model.partitions import make_iid, partition_of
from bide.model.queue import QueueMessage
from bide.store.copying import TABLES, Copied
from bide.store.postgres.batch import bare_statement, stored_event_id
from bide.store.postgres.connection import UNHURRIED, Connection, connect, driver_errors
from bide.store.postgres.options import Options, parse_url
from bide.store.postgres.queues import MESSAGE
from bide.store.postgres.schema import migrate, migrations, read_version
from bide.store.postgres.statements import SQL
from bide.store.rows import ROW, dead_letter_of, row_of

_AT_A_TIME = 200
_PLACES = "unnest($1::integer[], $2::bigint[]) AS w (partition, iid)"


class _Schema:
    """A connection with an open transaction, while no node uses the schema."""

    def __init__(self, connection: Connection, options: Options) -> None:
        self._connection = connection
        self._options = options
        self.name = options.where

    @classmethod
    async def open(cls, url: str) -> Self:
        """Raise `StoreLockedError` when a node is using the schema, and what opening a store raises."""
        options = parse_url(url)
        schema = cls(await connect(options, "copies"), options)
        try:
            with driver_errors(options.where):
                await schema._begin()
                await schema._refuse_nodes()
        except BaseException:
            await schema.close()
            raise
        return schema

    async def _begin(self) -> None:
        raise NotImplementedError

    async def _refuse_nodes(self) -> None:
        nodes = await self._connection.fetch(SQL["nodes"])
        if nodes:
            names = ", ".join(f"{number} ({name})" for number, name in nodes)
            raise StoreLockedError(f"{self.name} is in use by nodes {names}. Stop them first.")

    async def close(self) -> None:
        self._connection.terminate()

    async def counts(self) -> dict[str, int]:
        return {table: (await self._fetch(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES}

    async def _fetch(self, sql: str, *values: Any) -> list[Any]:
        with driver_errors(self.name):
            return await self._connection.fetch(sql, *values)


class PostgresSource(_Schema):
    """See `Source`: one snapshot. The schema must be this bide's (`StoreVersionError`)."""

    async def _begin(self) -> None:
        version = await read_version(self._connection, self._options)
        before, ours = version.version if version is not None else 0, len(migrations())
        if before != ours:
            way_out = "Run 'bide db upgrade' first." if before < ours else "Upgrade bide."
            raise StoreVersionError(f"{self.name} has schema {before}; this bide copies schema {ours}. {way_out}")
        await self._connection.transaction(isolation="repeatable_read", readonly=True).start()
        await self._connection.execute(UNHURRIED)

    async def instances(self) -> AsyncIterator[list[Copied]]:
        after = (-1, -1)
        while rows := await self._fetch(
            f"SELECT {ROW}, i.partition FROM instances AS i WHERE (i.created_at, i.iid) > ($1, $2) "
            f"ORDER BY i.created_at, i.iid LIMIT {_AT_A_TIME}",
            *after,
        ):
            after = rows[-1][4], rows[-1][0]
            yield await self._copied(rows)

    async def _copied(self, rows: Sequence[Any]) -> list[Copied]:
        copied = {row[0]: Copied(row_of(row), [], [], []) for row in rows}
        places = [row[-1] for row in rows], list(copied)
        for iid, seq, at, data in await self._fetch(
            f"SELECT iid, seq, at, data FROM {_PLACES} JOIN history USING (partition, iid) ORDER BY seq", *places
        ):
            copied[iid].turns.append(Turn(seq, at, data))
        for iid, *wait in await self._fetch(
            f"SELECT iid, number, name, since, deadline, type FROM {_PLACES} JOIN waits USING (partition, iid)", *places
        ):
            copied[iid].waits.append(Wait(copied[iid].row.instance_id, *wait))
        for iid, event_id in await self._fetch(
            f"SELECT iid, event_id FROM {_PLACES} JOIN event_ids USING (partition, iid)", *places
        ):
            copied[iid].event_ids.append(event_id)
        for each in copied.values():
            each.event_ids = _original_ids(each)
        return list(copied.values())

    async def dead_letters(self) -> AsyncIterator[list[DeadLetter]]:
        after = 0
        while rows := await self._fetch(
            "SELECT number, instance_id, name, input, event_id, raised_at, recorded_at, reason FROM dead_letters "
            f"WHERE number > $1 ORDER BY number LIMIT {_AT_A_TIME}",
            after,
        ):
            after = rows[-1][0]
            yield [dead_letter_of(row) for row in rows]

    async def messages(self) -> list[bytes]:
        return [data for (data,) in await self._fetch("SELECT data FROM inbox ORDER BY place")]

    async def queue_messages(self) -> AsyncIterator[list[QueueMessage]]:
        after = 0
        while rows := await self._fetch(
            f"SELECT {MESSAGE} FROM queue_messages WHERE id > $1 ORDER BY id LIMIT {_AT_A_TIME}", after
        ):
            after = rows[-1][0]
            yield [QueueMessage(*row) for row in rows]

    async def settings(self) -> dict[str, str]:
        return dict(await self._fetch("SELECT name, value FROM settings"))


class PostgresTarget(_Schema):
    """See `Target`. The schema is made when it is not there."""

    async def _begin(self) -> None:
        _, version = await migrate(self._connection, self._options)
        self._partitions = version.partitions
        await self._connection.transaction().start()
        await self._connection.execute(UNHURRIED)

    def new_iid(self, instance_id: str, number: int) -> int:
        return make_iid(self.partition_of(instance_id), 0, number)  # no owner ever has epoch 0

    def partition_of(self, instance_id: str) -> int:
        return partition_of(instance_id, self._partitions)

    async def write(self, batch: Batch) -> None:
        statement = bare_statement(batch)
        await self._fetch(statement.sql, *statement.values)

    async def write_queue_messages(self, messages: Sequence[QueueMessage]) -> None:
        columns = list(map(list, zip(*map(msgspec.structs.astuple, messages), strict=True)))
        await self._fetch(
            f"INSERT INTO queue_messages ({MESSAGE}) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], "
            "$5::bigint[], $6::text[], $7::bigint[], $8::bigint[])",
            *columns,
        )
        await self._fetch("SELECT setval('queue_messages_id_seq', $1)", messages[-1].id)

    async def write_settings(self, settings: dict[str, str]) -> None:
        await self._fetch(
            "INSERT INTO settings (name, value) SELECT * FROM unnest($1::text[], $2::text[])",
            list(settings),
            list(settings.values()),
        )

    async def commit(self) -> None:
        await self._refuse_nodes()
        with driver_errors(self.name):
            await self._connection.execute("COMMIT")


def _original_ids(copied: Copied) -> list[str]:
    """Event ids as they came. Of a long one only a part is kept; the whole may stand in the history."""
    if all(stored_event_id(each) == each for each in copied.event_ids):
        return copied.event_ids
    events = (event for turn in copied.turns for event in decode_turn(turn.data))
    whole = {
        stored_event_id(event.event_id): event.event_id
        for event in events
        if isinstance(event, EventRaised) and event.event_id is not None
    }
    return [whole.get(each, each) for each in copied.event_ids]
