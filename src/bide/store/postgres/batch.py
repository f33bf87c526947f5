"""Turns a `Batch` into the one SQL statement that writes it, and its values; `batch.sql` has the parts.

A statement has only the parts that its batch needs: each costs time, also with nothing to do. Batches of one shape are one
prepared statement.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Any, NamedTuple

import msgspec

from bide.model.commit import ActivityKey, Batch, OfferedActivity
from bide.model.instance import DeadLetter, InstanceRow, Wait
from bide.model.names import event_key
from bide.model.partitions import partition_of_iid
from bide.store.changes import Changes
from bide.store.postgres.channels import Channels

LEASE_LOST = "bide: lease lost"
MESSAGE_GONE = "bide: message gone"
"""What the server's error says when a check of a batch fails."""

_LONGEST_EVENT_ID = 1000
"""Bytes. An index of PostgreSQL takes 2,704, and an event id may be 1,000 characters."""

_encode = msgspec.json.Encoder().encode


class Statement(msgspec.Struct):
    """`fenced` are the partitions whose leases it checks.

    Where there are any, its first values are they, their epochs and the node.
    """

    sql: str
    values: list[Any]
    fenced: list[int]


def statement(batch: Batch, held: Collection[int], channels: Channels, *, polls: bool) -> Statement:
    """Make the statement that writes `batch`; epochs and node are still missing.

    Whoever may hold one of the partitions that are not `held` is notified of messages to it. With `polls` nobody listens:
    replies are stored.
    """
    changes = Changes(batch.commits)
    fenced = sorted(_fenced(batch, held))
    parts: dict[str, list[Any]] = {"fence": [fenced, [], 0]} if fenced else {}
    for name, rows in _rows(batch, changes):
        parts |= _columns(name, rows)
    if polls:
        parts |= _columns("replied", [(each.node, each.request, each.data) for each in batch.replies])
    else:
        parts |= {"room": [channels.activities]} if "removed" in parts else {}
        parts |= _columns("notified", list(_notices(batch, held, channels)))
    return Statement(put_together(tuple(parts)), [value for values in parts.values() for value in values], fenced)


def bare_statement(batch: Batch) -> Statement:
    """Make a statement that checks and tells nothing, for a store that nobody uses."""
    parts: dict[str, list[Any]] = {}
    for name, rows in _rows(batch, Changes(batch.commits)):
        parts |= _columns(name, rows)
    return Statement(put_together(tuple(parts)), [value for values in parts.values() for value in values], [])


def _columns(name: str, rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Values of a part, if it has rows."""
    return {name: list(map(list, zip(*rows, strict=True)))} if rows else {}


def _fenced(batch: Batch, held: Collection[int]) -> set[int]:
    """Partitions that must be held when the batch is written.

    Anybody may post to those that are not, bury events for unknown instances, and remove the activities that he has run. Of
    messages to one that is held nobody is notified: so nobody else may claim it meanwhile.
    """
    fenced = {partition_of_iid(commit.iid) for commit in batch.commits if commit.iid}
    fenced.update(partition for partition, _ in batch.inbox_removed)
    fenced.update(partition_of_iid(each.key.iid) for each in batch.activities_added)
    fenced.update(posted.partition for posted in batch.inbox_added if posted.partition in held)
    return fenced


def _rows(batch: Batch, changes: Changes) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Rows by the name of their part, in the order of its values."""
    of = partition_of_iid
    yield "purged", [(of(iid), iid) for iid in dict.fromkeys(changes.purged)]
    yield "inserted", [_inserted(row) for row in changes.inserted.values()]
    yield "updated", [_updated(row) for row in changes.updated.values()]
    yield "cleared", [(of(iid), iid, seq) for iid, seq in changes.cleared.items()]
    yield "turns", [(of(iid), iid, turn.seq, turn.at, turn.data) for (iid, _), turn in changes.turns.items()]
    yield "closed_all", [(of(iid), iid) for iid in changes.closed_all]
    yield "closed", [(of(iid), iid, number) for iid, number in changes.closed]
    yield "opened", [_opened(iid, wait) for (iid, _), wait in changes.opened.items()]
    yield "event_ids", [(of(iid), iid, stored_event_id(event_id)) for iid, event_id in changes.event_ids]
    yield "dead_letters", [_buried(letter) for letter in changes.dead_letters]
    yield "posted", list({(p.partition, p.key): (p.partition, p.key, p.data) for p in batch.inbox_added}.values())
    yield "taken", list(dict.fromkeys(batch.inbox_removed))
    ended = _ended(changes)
    gone = {*ended, *changes.purged}
    removed = dict.fromkeys(batch.activities_removed)
    yield "ended", [(of(iid), iid) for iid in ended]
    yield "removed", [activity_key(key) for key in removed]
    yield (
        "offered",
        [offered(each) for each in batch.activities_added if each.key.iid not in gone and each.key not in removed],
    )


def _ended(changes: Changes) -> list[int]:
    """Instances that have ended in this batch: activities of theirs that nobody has claimed are wanted no more."""
    return [iid for rows in (changes.inserted, changes.updated) for iid, row in rows.items() if row.status.is_ended]


def _notices(batch: Batch, held: Collection[int], channels: Channels) -> Iterator[tuple[str, str]]:
    """Channels and payloads. A transaction that notifies holds up all others that do: none without need, and one a channel."""
    for partition in {posted.partition for posted in batch.inbox_added}.difference(held):
        yield channels.partition(partition), ""
    if batch.activities_added:
        yield channels.activities, ""
    for reply in batch.replies:
        for payload in channels.reply_payloads(reply.request, reply.data):
            yield channels.node(reply.node), payload


def stored_event_id(event_id: str) -> str:
    """Return what an index can hold: ids of more than 1,000 bytes are cut, and end with a hash.

    Those are longer than any that are stored as they are, so that the two cannot be taken for each other.
    """
    data = event_id.encode()
    if len(data) <= _LONGEST_EVENT_ID:
        return event_id
    start = data[:_LONGEST_EVENT_ID].decode(errors="ignore")
    return f"{start}…{sha256(data).hexdigest()}"


def activity_key(key: ActivityKey) -> tuple[Any, ...]:
    return (partition_of_iid(key.iid), key.iid, key.execution_id, key.task_id)


def offered(each: OfferedActivity) -> tuple[Any, ...]:
    return (*activity_key(each.key), each.instance_id, each.name, each.data)


def _json(value: Any) -> str | None:
    return None if value is None else _encode(value).decode()


def _inserted(row: InstanceRow) -> tuple[Any, ...]:
    return (
        partition_of_iid(row.iid), row.iid, row.instance_id, row.name, row.status, row.created_at, row.execution_id,
        row.generation, row.version, row.parent_instance_id, _json(row.tags), row.start_at, row.ended_at,
        row.next_timer_at, row.is_active, row.output, row.custom_status, _json(row.failure), _json(row.buffered),
    )  # fmt: skip


def _updated(row: InstanceRow) -> tuple[Any, ...]:
    return (
        partition_of_iid(row.iid), row.iid, row.status, row.execution_id, row.generation, row.version, row.start_at, row.ended_at,
        row.next_timer_at, row.is_active, row.output, row.custom_status, _json(row.failure), _json(row.buffered),
    )  # fmt: skip


def _opened(iid: int, wait: Wait) -> tuple[Any, ...]:
    return (
        partition_of_iid(iid),
        iid,
        wait.number,
        event_key(wait.name),
        wait.name,
        wait.since,
        wait.deadline,
        wait.type,
    )


def _buried(letter: DeadLetter) -> tuple[Any, ...]:
    return (
        letter.instance_id, letter.name, letter.input, letter.event_id, letter.raised_at, letter.recorded_at, letter.reason
    )  # fmt: skip


class _Part(NamedTuple):
    body: str
    checks: list[str]
    results: list[str]
    values: int


def _parse(sql: str) -> dict[str, _Part]:
    """Read the parts of `batch.sql` by name."""
    parts: dict[str, _Part] = {}
    for text in sql.split("-- part: ")[1:]:
        name, _, rest = text.partition("\n")
        lines = rest.splitlines()
        parts[name] = _Part(
            body="\n".join(line for line in lines if line and not line.startswith("--")),
            checks=_after(lines, "-- check: "),
            results=_after(lines, "-- result: "),
            values=max(map(int, re.findall(r"\$(\d+)", rest)), default=0),
        )
    return parts


def _after(lines: Iterable[str], mark: str) -> list[str]:
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


PARTS = _parse((resources.files("bide.store.postgres") / "batch.sql").read_text("utf-8"))
_CONDITION = re.compile(r"^.* -- if (\w+)\n?", re.MULTILINE)


@cache
def put_together(names: tuple[str, ...]) -> str:
    """Put a statement together from parts."""
    bodies: list[str] = []
    checks: list[str] = []
    results: list[str] = []
    offset = 0
    for name in names:
        part = PARTS[name]
        move = _moved_by(offset)
        bodies.append(move(_CONDITION.sub(lambda line: line[0] if line[1] in names else "", part.body)))
        checks.extend(map(move, part.checks))
        results.extend(map(move, part.results))
        offset += part.values
    if checks:
        results.insert(0, f"CASE {' '.join(checks)} ELSE 0 END")
    return f"{'WITH ' if bodies else ''}{', '.join(bodies)} SELECT {', '.join(results) or '0'}"


def _moved_by(offset: int) -> Callable[[str], str]:
    """Number the values of a part from `offset` on."""
    return lambda sql: re.sub(r"\$(\d+)", lambda value: f"${int(value[1]) + offset}", sql)
