"""Turns a `Batch` into a handful of SQL statements.

The driver lets go of the GIL at every statement, and under a busy Python thread waits for a switch interval to get it
back. So a batch is one statement a table, not one a row: rows travel as one JSON parameter that `json_each` unfolds.
History is binary; its rows travel as one concatenated blob, and the JSON holds where each begins.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from bide.model.commit import Batch, Commit, Turn
from bide.model.instance import DeadLetter, InstanceRow, Wait
from bide.model.names import event_key

Statement = tuple[str, tuple[Any, ...]]

_encode = msgspec.json.Encoder().encode

_PURGE = tuple(
    f"DELETE FROM {table} WHERE iid IN (SELECT value FROM json_each(?))"
    for table in ("instances", "history", "waits", "event_ids")
)
_COLUMNS = (
    "iid, id, name, status, created_at, execution_id, generation, version, parent_instance_id, tags, "
    "start_at, ended_at, next_timer_at, is_active, output, custom_status, failure, buffered"
)
_INSERT = f"INSERT INTO instances ({_COLUMNS}) SELECT {', '.join(f'value->>{n}' for n in range(18))} FROM json_each(?)"
_UPDATE = """
    UPDATE instances SET
        status = new.value->>1, execution_id = new.value->>2, generation = new.value->>3, version = new.value->>4,
        start_at = new.value->>5, ended_at = new.value->>6, next_timer_at = new.value->>7, is_active = new.value->>8,
        output = new.value->>9, custom_status = new.value->>10, failure = new.value->>11, buffered = new.value->>12
    FROM json_each(?) AS new WHERE iid = new.value->>0"""
_CLEAR = """
    DELETE FROM history WHERE (iid, seq) IN (
        SELECT h.iid, h.seq FROM json_each(?) AS c JOIN history AS h ON h.iid = c.value->>0 AND h.seq < c.value->>1)"""
_APPEND = """
    INSERT INTO history (iid, seq, at, data)
    SELECT value->>0, value->>1, value->>2, substr(?2, value->>3, value->>4) FROM json_each(?1)"""
_CLOSE_ALL = "DELETE FROM waits WHERE iid IN (SELECT value FROM json_each(?))"
_CLOSE = "DELETE FROM waits WHERE (iid, number) IN (SELECT value->>0, value->>1 FROM json_each(?))"
_OPEN = """
    INSERT INTO waits (iid, number, key, name, since, deadline, type)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM json_each(?)"""
_REMEMBER = "INSERT OR IGNORE INTO event_ids (iid, event_id) SELECT value->>0, value->>1 FROM json_each(?)"
_BURY = """
    INSERT INTO dead_letters (instance_id, name, input, event_id, raised_at, recorded_at, reason)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM json_each(?)"""
_POST = """
    INSERT OR REPLACE INTO inbox (key, data)
    SELECT value->>0, substr(?2, value->>1, value->>2) FROM json_each(?1)"""
_TAKE = "DELETE FROM inbox WHERE key IN (SELECT value FROM json_each(?))"
_LAST_IID = "UPDATE meta SET last_iid = ? WHERE last_iid < ?"


def statements(batch: Batch) -> list[Statement]:
    """List what to execute, in order, in one transaction."""
    return _Changes(batch.commits).statements() + _inbox(batch)


class _Changes:
    """The net effect of the commits, by table."""

    def __init__(self, commits: Iterable[Commit]) -> None:
        self.purged: list[int] = []
        self.inserted: dict[int, InstanceRow] = {}
        self.updated: dict[int, InstanceRow] = {}
        self.cleared: dict[int, int] = {}
        self.turns: dict[tuple[int, int], Turn] = {}
        self.closed_all: set[int] = set()
        self.closed: dict[tuple[int, int], None] = {}
        self.opened: dict[tuple[int, int], Wait] = {}
        self.event_ids: dict[tuple[int, str], None] = {}
        self.dead_letters: list[DeadLetter] = []
        self.last_iid = 0
        for commit in commits:
            self._add(commit)

    def _add(self, commit: Commit) -> None:
        self.dead_letters.extend(commit.dead_letters)
        if commit.purge:
            self._purge(commit.iid)
            return
        self._add_row(commit)
        self._add_waits(commit)
        for event_id in commit.event_ids:
            self.event_ids[commit.iid, event_id] = None

    def _add_row(self, commit: Commit) -> None:
        iid = commit.iid
        if commit.insert is not None:
            self.inserted[iid] = commit.insert
            self.last_iid = max(self.last_iid, iid)
        elif commit.update is not None:
            (self.inserted if iid in self.inserted else self.updated)[iid] = commit.update
        if commit.turn is not None:
            if commit.clear_history:
                self._drop(self.turns, iid)
                self.cleared[iid] = commit.turn.seq
            self.turns[iid, commit.turn.seq] = commit.turn

    def _add_waits(self, commit: Commit) -> None:
        iid = commit.iid
        if commit.waits_closed is None or commit.clear_history:
            self._drop(self.opened, iid)
            self.closed_all.add(iid)
        else:
            for number in commit.waits_closed:
                if self.opened.pop((iid, number), None) is None:
                    self.closed[iid, number] = None
        for wait in commit.waits_opened:
            self.opened[iid, wait.number] = wait

    def _purge(self, iid: int) -> None:
        self.purged.append(iid)
        self.inserted.pop(iid, None)
        self.updated.pop(iid, None)
        self.cleared.pop(iid, None)
        self._drop(self.turns, iid)
        self._drop(self.opened, iid)
        self._drop(self.event_ids, iid)

    @staticmethod
    def _drop(table: dict[tuple[int, Any], Any], iid: int) -> None:
        for key in [key for key in table if key[0] == iid]:
            del table[key]

    def statements(self) -> list[Statement]:
        return [
            *(statement for sql in _PURGE for statement in _each(sql, self.purged)),
            *_each(_INSERT, [_inserted(row) for row in self.inserted.values()]),
            *_each(_UPDATE, [_updated(row) for row in self.updated.values()]),
            *_each(_CLEAR, list(self.cleared.items())),
            *_blobs(_APPEND, ((iid, turn.seq, turn.at, turn.data) for (iid, _), turn in self.turns.items())),
            *_each(_CLOSE_ALL, list(self.closed_all)),
            *_each(_CLOSE, list(self.closed)),
            *_each(_OPEN, [_opened(iid, wait) for (iid, _), wait in self.opened.items()]),
            *_each(_REMEMBER, list(self.event_ids)),
            *_each(_BURY, [_buried(letter) for letter in self.dead_letters]),
            *([(_LAST_IID, (self.last_iid, self.last_iid))] if self.last_iid else []),
        ]


def _inbox(batch: Batch) -> list[Statement]:
    return [*_blobs(_POST, batch.inbox_added), *_each(_TAKE, batch.inbox_removed)]


def _each(sql: str, rows: list[Any]) -> list[Statement]:
    return [(sql, (_encode(rows).decode(),))] if rows else []


def _blobs(sql: str, rows: Iterable[tuple[Any, ...]]) -> list[Statement]:
    """Pass rows whose last value is a blob: one blob of all, and in each row where its part begins (from 1) and its length."""
    index: list[tuple[Any, ...]] = []
    parts: list[bytes] = []
    offset = 1
    for row in rows:
        index.append((*row[:-1], offset, len(row[-1])))
        parts.append(row[-1])
        offset += len(row[-1])
    return [(sql, (_encode(index).decode(), b"".join(parts)))] if index else []


def _json(value: Any) -> str | None:
    return None if value is None else _encode(value).decode()


def _inserted(row: InstanceRow) -> tuple[Any, ...]:
    return (
        row.iid, row.instance_id, row.name, row.status, row.created_at, row.execution_id, row.generation, row.version,
        row.parent_instance_id, _json(row.tags), row.start_at, row.ended_at, row.next_timer_at, int(row.is_active),
        row.output, row.custom_status, _json(row.failure), _json(row.buffered),
    )  # fmt: skip


def _updated(row: InstanceRow) -> tuple[Any, ...]:
    return (
        row.iid, row.status, row.execution_id, row.generation, row.version, row.start_at, row.ended_at,
        row.next_timer_at, int(row.is_active), row.output, row.custom_status, _json(row.failure), _json(row.buffered),
    )  # fmt: skip


def _opened(iid: int, wait: Wait) -> tuple[Any, ...]:
    return (iid, wait.number, event_key(wait.name), wait.name, wait.since, wait.deadline, wait.type)


def _buried(letter: DeadLetter) -> tuple[Any, ...]:
    return (
        letter.instance_id, letter.name, letter.input, letter.event_id, letter.raised_at, letter.recorded_at, letter.reason
    )  # fmt: skip
