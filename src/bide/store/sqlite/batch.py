"""Turns a `Batch` into the parameters of the one SQL statement that writes it; `batch.sql` has the other side."""

from collections.abc import Iterable
from importlib import resources
from typing import Any

import msgspec

from bide.model.commit import Batch
from bide.model.instance import DeadLetter, InstanceRow, Wait
from bide.model.names import event_key
from bide.store.changes import Changes

SETUP = (resources.files("bide.store.sqlite") / "batch.sql").read_text("utf-8")
"""What a connection needs before it can write batches: a temporary view and its trigger."""

_COLUMNS = (
    "purged", "inserted", "updated", "cleared", "turns", "turn_data", "closed_all", "closed", "opened",
    "event_ids", "dead_letters", "posted", "posted_data", "taken", "last_iid",
)  # fmt: skip
INSERT = f"INSERT INTO batch ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"

Parameters = tuple[Any, ...]

_encode = msgspec.json.Encoder().encode


def parameters(batch: Batch) -> Parameters:
    """Values for `INSERT`, which is one transaction."""
    changes = Changes(batch.commits)
    turns, turn_data = _blobs((iid, turn.seq, turn.at, turn.data) for (iid, _), turn in changes.turns.items())
    posted, posted_data = _blobs((posted.key, posted.data) for posted in batch.inbox_added)
    return (
        _rows(changes.purged),
        _rows([_inserted(row) for row in changes.inserted.values()]),
        _rows([_updated(row) for row in changes.updated.values()]),
        _rows(list(changes.cleared.items())),
        turns,
        turn_data,
        _rows(list(changes.closed_all)),
        _rows(list(changes.closed)),
        _rows([_opened(iid, wait) for (iid, _), wait in changes.opened.items()]),
        _rows(list(changes.event_ids)),
        _rows([_buried(letter) for letter in changes.dead_letters]),
        posted,
        posted_data,
        _rows([key for _, key in batch.inbox_removed]),
        changes.last_iid or None,
    )


def _rows(rows: list[Any]) -> str | None:
    return _encode(rows).decode() if rows else None


def _blobs(rows: Iterable[tuple[Any, ...]]) -> tuple[str | None, bytes | None]:
    """Pass rows whose last value is a blob: in each row where its part of the whole begins and its length, and the whole."""
    index: list[tuple[Any, ...]] = []
    parts: list[bytes] = []
    offset = 1
    for row in rows:
        index.append((*row[:-1], offset, len(row[-1])))
        parts.append(row[-1])
        offset += len(row[-1])
    return _rows(index), b"".join(parts) if index else None


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
