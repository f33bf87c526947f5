"""Proves that what a database file holds agrees with itself, and names what does not.

First SQLite's own check; when the file is sound, its schema, then rules between tables as queries, and then each instance
with its history. What rows of an instance must say is not known here: whoever calls passes that in.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bide.errors import StoreUnavailableError, StoreVersionError
from bide.model.commit import Turn
from bide.model.instance import ENDED, DeadLetterReason
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
from bide.store.rows import ROW, row_of
from bide.store.sqlite.connection import driver_errors, make_schema, open_database, version_of
from bide.store.sqlite.ownership import Ownership

_REASONS = ", ".join(f"'{reason}'" for reason in DeadLetterReason)
_LIVE = f"status NOT IN ({', '.join(str(int(status)) for status in ENDED)})"

_RULES: tuple[tuple[str, str, str], ...] = (
    ("meta", "(SELECT count(*) FROM meta) <> 1", "should have exactly one row"),
    ("meta", "last_iid < (SELECT max(iid) FROM instances)", "last_iid should be at least the highest iid of instances"),
    ("meta", "last_iid < 0", "last_iid should not be negative"),
    ("instances", "iid <= 0", "iid should be above 0"),
    ("instances", "is_active NOT IN (0, 1)", "is_active should be 0 or 1"),
    ("instances", "tags IS NOT NULL AND NOT json_valid(tags)", "tags should be JSON"),
    ("instances", "output IS NOT NULL AND NOT json_valid(output)", "output should be JSON"),
    ("instances", "custom_status IS NOT NULL AND NOT json_valid(custom_status)", "custom_status should be JSON"),
    ("instances", "failure IS NOT NULL AND NOT json_valid(failure)", "failure should be JSON"),
    ("instances", "buffered IS NOT NULL AND NOT json_valid(buffered)", "buffered should be JSON"),
    ("history", "NOT EXISTS (SELECT 1 FROM instances AS i WHERE i.iid = t.iid)", NO_INSTANCE),
    ("event_ids", "NOT EXISTS (SELECT 1 FROM instances AS i WHERE i.iid = t.iid)", NO_INSTANCE),
    ("waits", "NOT EXISTS (SELECT 1 FROM instances AS i WHERE i.iid = t.iid)", NO_INSTANCE),
    (
        "waits",
        f"EXISTS (SELECT 1 FROM instances AS i WHERE i.iid = t.iid AND (NOT i.{_LIVE} OR substr(i.id, 1, 1) = '@'))",
        NOT_LIVE,
    ),
    ("dead_letters", f"reason NOT IN ({_REASONS})", f"reason should be one of {_REASONS}"),
    ("dead_letters", "input IS NOT NULL AND NOT json_valid(input)", "input should be JSON"),
    ("inbox", "key <= 0", "key should be above 0"),
    ("queue_messages", "dequeue_count < 0", "dequeue_count should not be negative"),
    (
        "queue_messages",
        "(dequeue_count > 0) <> (receipt IS NOT NULL)",
        "should have a receipt if, and only if, it has been delivered",
    ),
    ("queue_messages", "receipt IS NOT NULL AND taken_at IS NULL", "taken_at should say when it was visible before"),
    (
        "queue_messages",
        "id > (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'queue_messages')",
        "id should not be above what sqlite_sequence has given out",
    ),
    (
        "dead_letters",
        "number > (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'dead_letters')",
        "number should not be above what sqlite_sequence has given out",
    ),
)
"""Table, which rows of it (`t`) are wrong, and what they should be."""


def check(path: Path | str, judge: Judge) -> Report:
    """Read the whole database file. Nothing is changed, and nobody may be using it.

    Raises `StoreLockedError` when a hub does, `StoreVersionError` unless the schema is this bide's,
    `StoreCorruptError` and `StoreUnavailableError` when the file cannot be read at all.
    """
    path = Path(path)
    if not path.exists():
        raise StoreUnavailableError(f"There is no file {path.absolute()}. Is the path right?")
    ownership = Ownership(path)
    ownership.acquire()
    try:
        connection = open_database(path, read_only=True)
        try:
            with driver_errors(path):
                return _check(connection, path, judge)
        finally:
            connection.close()
    finally:
        ownership.release()


def _check(connection: sqlite3.Connection, path: Path, judge: Judge) -> Report:
    before, ours = version_of(connection, path)
    if before != ours:
        way_out = "Run 'bide db upgrade' first." if before < ours else "Upgrade bide."
        raise StoreVersionError(f"{path} has schema {before}; this bide checks schema {ours}. {way_out}")
    found = list(_integrity(connection)) or list(_schema(connection))
    if found:  # what else would be read could not be trusted
        return Report(0, found)
    count = connection.execute("SELECT count(*) FROM instances").fetchone()[0]
    return Report(
        count,
        [
            *_types(connection),
            *_rules(connection),
            *_wait_keys(connection),
            *_messages(connection),
            *_instances(connection, judge),
        ],
    )


def _integrity(connection: sqlite3.Connection) -> Iterator[Violation]:
    for (text,) in connection.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield Violation("sqlite", "integrity_check", text)


def _schema(connection: sqlite3.Connection) -> Iterator[Violation]:
    """Compare tables and indexes with those of a new database."""
    with make_schema() as new:
        expected = _definitions(new)
    actual = _definitions(connection)
    for name in sorted(expected.keys() | actual.keys()):
        if name not in actual:
            yield Violation("sqlite_master", name, "is missing")
        elif name.startswith("sqlite_"):
            continue  # statistics, which SQLite makes by itself
        elif name not in expected:
            yield Violation("sqlite_master", name, "should not be there")
        elif actual[name] != expected[name]:
            yield Violation("sqlite_master", name, f"should be: {expected[name][1]}")


def _definitions(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """What each table or index is, also by the types of these values, and its SQL."""
    what = "quote(type) || quote(name) || quote(tbl_name)"
    rows = connection.execute(f"SELECT CAST(name AS TEXT), {what}, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: (kind, sql) for name, kind, sql in rows}


def _tables(connection: sqlite3.Connection) -> dict[str, list[tuple[str, str, bool, int]]]:
    """Name, type, whether it may be empty, and place in the primary key, of every column of every table."""
    sql = (
        'SELECT m.name, c.name, lower(c.type), NOT c."notnull", c.pk FROM sqlite_master AS m '
        "JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'"
    )
    tables: dict[str, list[tuple[str, str, bool, int]]] = {}
    for table, name, kind, is_optional, place in connection.execute(sql):
        tables.setdefault(table, []).append((name, kind, bool(is_optional), place))
    return tables


def _key(columns: list[tuple[str, str, bool, int]]) -> str:
    """An SQL expression that names a row by its primary key, such as `iid 3, seq 4`."""
    names = [name for name, _, _, place in sorted(columns, key=lambda column: column[3]) if place]
    return " || ', ' || ".join(f"'{name} ' || t.{name}" for name in names) or "'the row'"


def _types(connection: sqlite3.Connection) -> Iterator[Violation]:
    """SQLite puts a value of any type into any column."""
    for table, columns in _tables(connection).items():
        for name, kind, is_optional, _ in columns:
            allowed = (kind, "null") if is_optional else (kind,)
            sql = f"SELECT {_key(columns)}, typeof(t.{name}) FROM {table} AS t WHERE typeof(t.{name}) NOT IN (?, ?)"
            for key, actual in connection.execute(sql, (kind, allowed[-1])):
                yield Violation(table, str(key), f"{name} is of type {actual}, should be {' or '.join(allowed)}")


def _rules(connection: sqlite3.Connection) -> Iterator[Violation]:
    tables = _tables(connection)
    for table, condition, problem in _RULES:
        rows = connection.execute(f"SELECT {_key(tables[table])} FROM {table} AS t WHERE {condition}")
        for (key,) in rows:
            yield Violation(table, str(key), problem)
    if not connection.execute("SELECT count(*) FROM meta").fetchone()[0]:
        yield Violation("meta", "the row", "is missing")


def _wait_keys(connection: sqlite3.Connection) -> Iterator[Violation]:
    for iid, number, key, name in connection.execute("SELECT iid, number, key, name FROM waits"):
        for problem in check_wait(key, name):
            yield Violation("waits", f"iid {iid}, number {number}", problem)


def _messages(connection: sqlite3.Connection) -> Iterator[Violation]:
    for key, data in connection.execute("SELECT key, data FROM inbox"):
        for problem in check_message(data):
            yield Violation("inbox", f"key {key}", problem)


def _instances(connection: sqlite3.Connection, judge: Judge) -> Iterator[Violation]:
    for columns in connection.execute(f"SELECT {ROW} FROM instances AS i ORDER BY i.iid"):
        key = f"iid {columns[0]} ({columns[1]!r})"
        try:
            row = row_of(columns)
        except (ValueError, TypeError, msgspec.DecodeError) as error:
            yield Violation("instances", key, f"should be readable: {error}")
            continue
        turns: list[ReadTurn] = []
        damaged = list(_read_turns(connection, row.iid, turns))
        yield from damaged
        if not damaged:
            for table, problem in judge(row, turns):
                yield Violation(table, key, problem)
            yield from _forgotten_ids(connection, row.iid, key, turns)


def _read_turns(connection: sqlite3.Connection, iid: int, into: list[ReadTurn]) -> Iterator[Violation]:
    rows = connection.execute("SELECT seq, at, data FROM history WHERE iid = ? ORDER BY seq", (iid,))
    for seq, problem in read_turns((Turn(*row) for row in rows), into):
        yield Violation("history", f"iid {iid}, seq {seq}", problem)


def _forgotten_ids(
    connection: sqlite3.Connection, iid: int, key: str, turns: Sequence[ReadTurn]
) -> Iterator[Violation]:
    known = [event_id for (event_id,) in connection.execute("SELECT event_id FROM event_ids WHERE iid = ?", (iid,))]
    for problem in forgotten_ids(turns, known):
        yield Violation("event_ids", key, problem)
