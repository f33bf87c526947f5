"""Proves that what a schema holds agrees with itself, and names what does not.

The schema first, then rules between tables as queries, and then each instance with its history. All of it is read in one
snapshot, so that nodes may go on meanwhile: whatever they have committed by then agrees, or it never will. What rows of an
instance must say is not known here: whoever calls passes that in.
"""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec

from bide.errors import StoreVersionError
from bide.model.commit import Turn
from bide.model.instance import ENDED, DeadLetterReason, InstanceRow
from bide.model.partitions import MAX_PARTITIONS, make_iid, partition_of
from bide.store.checking import (
    NO_INSTANCE,
    NOT_LIVE,
    Judge,
    ReadTurn,
    Report,
    Violation,
    check_message,
    check_wait,
    forgotten_ids,
    read_turns,
)
from bide.store.postgres.batch import stored_event_id
from bide.store.postgres.connection import UNHURRIED, Connection, connect, driver_errors
from bide.store.postgres.options import Options, parse_url
from bide.store.postgres.schema import create_tables, migrations, read_version
from bide.store.rows import ROW, row_of

_AT_A_TIME = 200
"""Instances whose histories are in memory."""

_KEYS = {
    "bide": (),
    "nodes": ("number",),
    "partitions": ("partition",),
    "instances": ("iid",),
    "history": ("iid", "seq"),
    "waits": ("iid", "number"),
    "event_ids": ("iid", "event_id"),
    "dead_letters": ("number",),
    "inbox": ("partition", "key"),
    "activities": ("iid", "execution_id", "task_id"),
    "queue_messages": ("id",),
}
"""By what a row is named. An iid tells the partition."""

_REASONS = ", ".join(f"'{reason}'" for reason in DeadLetterReason)
_ENDED = ", ".join(str(int(status)) for status in sorted(ENDED))
_OWNER = "SELECT 1 FROM instances AS i WHERE i.partition = t.partition AND i.iid = t.iid"
_EPOCH_OF = f"/ {make_iid(0, 1, 0)}"
_COUNT = "(SELECT min(partitions) FROM bide)"

_RULES: tuple[tuple[str, str, str], ...] = (
    ("bide", "(SELECT count(*) FROM bide) <> 1", "should have exactly one row"),
    (
        "bide",
        "t.partitions <> (SELECT count(*) FROM partitions)",
        "partitions should be the number of rows in partitions",
    ),
    ("partitions", f"t.partition NOT BETWEEN 0 AND {_COUNT} - 1", "should be below the number of partitions"),
    (
        "partitions",
        f"t.epoch < (SELECT max(iid) {_EPOCH_OF} FROM instances AS i WHERE i.partition = t.partition)",
        "epoch should be at least that of every iid",
    ),
    ("instances", "t.iid <= 0", "iid should be above 0"),
    *(
        (table, f"t.partition <> t.iid & {MAX_PARTITIONS - 1}", "partition should be the one that the iid tells")
        for table in ("instances", "history", "waits", "event_ids", "activities")
    ),
    *((table, f"NOT EXISTS ({_OWNER})", NO_INSTANCE) for table in ("history", "waits", "event_ids", "activities")),
    ("waits", f"EXISTS ({_OWNER} AND (i.status IN ({_ENDED}) OR i.id >= '@' AND i.id < 'A'))", NOT_LIVE),
    ("activities", f"t.claimed_by IS NULL AND EXISTS ({_OWNER} AND i.status IN ({_ENDED}))", NOT_LIVE),
    ("dead_letters", f"t.reason NOT IN ({_REASONS})", f"reason should be one of {_REASONS}"),
    ("inbox", "t.key <= 0", "key should be above 0"),
    ("inbox", f"t.partition NOT BETWEEN 0 AND {_COUNT} - 1", "partition should be below the number of partitions"),
    ("queue_messages", "t.dequeue_count < 0", "dequeue_count should not be negative"),
    (
        "queue_messages",
        "(t.dequeue_count > 0) <> (t.receipt IS NOT NULL)",
        "should have a receipt if, and only if, it has been delivered",
    ),
    *(
        (
            table,
            f"t.{column} > (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table}_{column}_seq)",
            f"{column} should not be above what its sequence has given out",
        )
        for table, column in (("nodes", "number"), ("dead_letters", "number"), ("queue_messages", "id"))
    ),
)
"""Table, which rows of it (`t`) are wrong, and what they should be."""

_DEFINITIONS = """
    SELECT c.relname || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), l.collname,
        CASE WHEN a.attnotnull THEN 'NOT NULL' END, CASE WHEN a.attidentity <> '' THEN 'IDENTITY' END)
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    WHERE c.relnamespace = $1 AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_class AS c WHERE c.relnamespace = $1 AND c.relkind = 'i'
"""
_SCHEMA_NAME = re.compile(r"(?<= ON )\S+\.")


async def check(url: str, judge: Judge) -> Report:
    """Read the whole schema. Nothing is changed.

    Raises `StoreVersionError` unless the schema is this bide's, `StoreCorruptError` and `StoreUnavailableError` when it cannot be
    read at all.
    """
    options = parse_url(url)
    connection = await connect(options, "checks")
    try:
        with driver_errors(options.where):
            await _check_version(connection, options)
            violations = [each async for each in _schema(connection, options)]
            if violations:  # what else would be read could not be trusted
                return Report(0, violations)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(UNHURRIED)
                count = await connection.fetchval("SELECT count(*) FROM instances")
                return Report(count, [each async for each in _violations(connection, judge)])
    finally:
        connection.terminate()


async def _check_version(connection: Connection, options: Options) -> None:
    version = await read_version(connection, options)
    before, ours = version.version if version is not None else 0, len(migrations())
    if before != ours:
        way_out = "Run 'bide db upgrade' first." if before < ours else "Upgrade bide."
        raise StoreVersionError(f"{options.where} has schema {before}; this bide checks schema {ours}. {way_out}")


async def _schema(connection: Connection, options: Options) -> AsyncIterator[Violation]:
    """Compare columns and indexes with those of new tables, which are temporary and soon gone."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET LOCAL search_path TO pg_temp")
        await create_tables(connection, partitions=1)
        expected = await _definitions(connection, await connection.fetchval("SELECT pg_my_temp_schema()"))
    finally:
        await transaction.rollback()
    schema = await connection.fetchval("SELECT oid FROM pg_namespace WHERE nspname = $1", options.schema)
    actual = await _definitions(connection, schema)
    for name in sorted(expected.keys() | actual.keys()):
        if name not in actual:
            yield Violation("pg_class", name, "is missing")
        elif name not in expected:
            yield Violation("pg_class", name, "should not be there")
        elif actual[name] != expected[name]:
            yield Violation("pg_class", name, f"is {actual[name]}, should be {expected[name]}")


async def _definitions(connection: Connection, schema: int) -> dict[str, str]:
    rows = await connection.fetch(_DEFINITIONS, schema)
    return {name: _SCHEMA_NAME.sub("", definition) for name, definition in rows}


async def _violations(connection: Connection, judge: Judge) -> AsyncIterator[Violation]:
    for each in (_rules(connection), _waits(connection), _payloads(connection), _messages(connection)):
        async for violation in each:
            yield violation
    async for violation in _instances(connection, judge):
        yield violation


async def _rules(connection: Connection) -> AsyncIterator[Violation]:
    for table, condition, problem in _RULES:
        names = " || ', ' || ".join(f"'{name} ' || t.{name}" for name in _KEYS[table]) or "'the row'"
        async for (key,) in connection.cursor(f"SELECT {names} FROM {table} AS t WHERE {condition}"):
            yield Violation(table, key, problem)


async def _waits(connection: Connection) -> AsyncIterator[Violation]:
    async for iid, number, key, name in connection.cursor("SELECT iid, number, key, name FROM waits", prefetch=1000):
        for problem in check_wait(key, name):
            yield Violation("waits", f"iid {iid}, number {number}", problem)


async def _payloads(connection: Connection) -> AsyncIterator[Violation]:
    sql = "SELECT number, input FROM dead_letters WHERE input IS NOT NULL"
    async for number, text in connection.cursor(sql, prefetch=1000):
        if not _is_json(text):
            yield Violation("dead_letters", f"number {number}", "input should be JSON")


async def _messages(connection: Connection) -> AsyncIterator[Violation]:
    async for partition, key, data in connection.cursor("SELECT partition, key, data FROM inbox", prefetch=1000):
        for problem in check_message(data):
            yield Violation("inbox", f"partition {partition}, key {key}", problem)


async def _instances(connection: Connection, judge: Judge) -> AsyncIterator[Violation]:
    count = await connection.fetchval("SELECT partitions FROM bide")
    rows: list[Any] = []
    async for columns in connection.cursor(f"SELECT {ROW}, i.partition FROM instances AS i", prefetch=_AT_A_TIME):
        rows.append(columns)
        if len(rows) == _AT_A_TIME:
            for violation in await _judged(connection, rows, count, judge):
                yield violation
            rows.clear()
    for violation in await _judged(connection, rows, count, judge):
        yield violation


async def _judged(connection: Connection, rows: Sequence[Any], count: int, judge: Judge) -> list[Violation]:
    places = [row[-1] for row in rows], [row[0] for row in rows]
    turns: dict[int, list[Turn]] = {}
    known: dict[int, list[str]] = {}
    wanted = "unnest($1::integer[], $2::bigint[]) AS w (partition, iid)"
    for iid, seq, at, data in await connection.fetch(
        f"SELECT t.iid, t.seq, t.at, t.data FROM {wanted} JOIN history AS t USING (partition, iid) ORDER BY t.seq",
        *places,
    ):
        turns.setdefault(iid, []).append(Turn(seq, at, data))
    for iid, event_id in await connection.fetch(
        f"SELECT t.iid, t.event_id FROM {wanted} JOIN event_ids AS t USING (partition, iid)", *places
    ):
        known.setdefault(iid, []).append(event_id)
    found: list[Violation] = []
    for columns in rows:
        iid = columns[0]
        found.extend(_of_instance(columns, count, turns.get(iid, []), known.get(iid, []), judge))
    return found


def _of_instance(
    columns: Sequence[Any], count: int, turns: Sequence[Turn], known: Sequence[str], judge: Judge
) -> Iterator[Violation]:
    iid, instance_id, partition = columns[0], columns[1], columns[-1]
    key = f"iid {iid} ({instance_id!r})"
    if partition != partition_of(instance_id, count):
        yield Violation("instances", key, f"partition is {partition}, should be {partition_of(instance_id, count)}")
    try:
        row = row_of(columns)
    except (ValueError, TypeError, msgspec.DecodeError) as error:
        yield Violation("instances", key, f"should be readable: {error}")
        return
    yield from (Violation("instances", key, problem) for problem in _json_problems(row))
    read: list[ReadTurn] = []
    damaged = [Violation("history", f"iid {iid}, seq {seq}", problem) for seq, problem in read_turns(turns, read)]
    yield from damaged
    if not damaged:
        yield from (Violation(table, key, problem) for table, problem in judge(row, read))
        yield from (Violation("event_ids", key, problem) for problem in forgotten_ids(read, known, stored_event_id))


def _json_problems(row: InstanceRow) -> Iterator[str]:
    for name, text in (("output", row.output), ("custom_status", row.custom_status)):
        if text is not None and not _is_json(text):
            yield f"{name} should be JSON"


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
