"""Copies all that one store holds into an empty one, of whatever kind. Nobody may be using either.

It is one transaction of the target: an interrupted copy leaves nothing. Instances get new iids, in the order in which they were
created; a stored message that is meant for one of them, and no later one of its id, gets that. What a running hub would make
again by itself is left behind: leases, nodes, and activities that are offered to nodes, which their instances offer anew.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from bide.errors import ConfigurationError, StoreCorruptError
from bide.model.commit import Batch, Commit, Posted, Turn
from bide.model.instance import DeadLetter, InstanceRow, Wait
from bide.model.messages import AnyMessage, decode_message, encode_message
from bide.model.queue import QueueMessage

TABLES: tuple[str, ...] = (
    "instances",
    "history",
    "waits",
    "event_ids",
    "dead_letters",
    "inbox",
    "queue_messages",
    "settings",
)
"""What is copied, and counted."""

_NOBODY = -1
"""An iid that no instance has."""


class Copied(msgspec.Struct):
    """An instance with all that belongs to it."""

    row: InstanceRow
    turns: list[Turn]
    waits: list[Wait]
    event_ids: list[str]


class Source(Protocol):
    """A store that is read. Everything it says is from one moment."""

    async def counts(self) -> dict[str, int]:
        """How many rows each of `TABLES` has."""
        ...

    def instances(self) -> AsyncIterator[list[Copied]]:
        """All of them in the order of their creation, some at a time."""
        ...

    def dead_letters(self) -> AsyncIterator[list[DeadLetter]]:
        """In the order in which they were recorded."""
        ...

    async def messages(self) -> list[bytes]:
        """The inbox, in order."""
        ...

    def queue_messages(self) -> AsyncIterator[list[QueueMessage]]: ...

    async def settings(self) -> dict[str, str]: ...

    async def close(self) -> None: ...


class Target(Protocol):
    """A store that is written, in one transaction. `name` is for people."""

    name: str

    async def counts(self) -> dict[str, int]:
        """How many rows each of `TABLES` has."""
        ...

    def new_iid(self, instance_id: str, number: int) -> int:
        """The iid of the instance that is copied as number so and so."""
        ...

    def partition_of(self, instance_id: str) -> int: ...

    async def write(self, batch: Batch) -> None: ...

    async def write_queue_messages(self, messages: Sequence[QueueMessage]) -> None: ...

    async def write_settings(self, settings: dict[str, str]) -> None: ...

    async def commit(self) -> None: ...

    async def close(self) -> None:
        """Let go of it; what is not committed is gone."""
        ...


Progress = Callable[[int, int], None]
"""Is called with the number of instances that are copied, and of all."""


async def copy(source: Source, target: Target, progress: Progress) -> dict[str, int]:
    """Copy everything; return how many rows of each table.

    Raises `ConfigurationError` when the target holds anything already, and `StoreCorruptError` when the source has rows that
    belong to no instance; then nothing is written.
    """
    found = sum((await target.counts()).values())
    if found:
        raise ConfigurationError(f"{target.name} holds {found} rows already. Copy into a store that is new, or empty.")
    expected = await source.counts()
    copied: Counter[str] = Counter(dict.fromkeys(TABLES, 0))
    messages = [decode_message(data) for data in await source.messages()]
    wanted = {message.iid for message in messages} - {0}
    iids: dict[int, int] = {}
    async for chunk in source.instances():
        iids |= await _write_instances(target, chunk, copied, wanted)
        progress(copied["instances"], expected["instances"])
    await target.write(Batch(inbox_added=[_posted(target, *each, iids) for each in enumerate(messages, 1)]))
    async for letters in source.dead_letters():
        await target.write(Batch(commits=[Commit(iid=0, dead_letters=tuple(letters))]))
        copied["dead_letters"] += len(letters)
    async for queued in source.queue_messages():
        await target.write_queue_messages(queued)
        copied["queue_messages"] += len(queued)
    settings = await source.settings()
    await target.write_settings(settings)
    copied.update(inbox=len(messages), settings=len(settings))
    _compare(expected, copied)
    await target.commit()
    return dict(copied)


async def _write_instances(
    target: Target, chunk: Sequence[Copied], copied: Counter[str], wanted: Collection[int]
) -> dict[int, int]:
    """Write them under new iids, and count them; return the new iids of those that are wanted."""
    iids: dict[int, int] = {}
    commits: list[Commit] = []
    for number, each in enumerate(chunk, copied["instances"] + 1):
        iid = target.new_iid(each.row.instance_id, number)
        if each.row.iid in wanted:
            iids[each.row.iid] = iid
        row = replace(each.row, iid=iid)
        commits.append(Commit(iid=iid, insert=row, waits_opened=tuple(each.waits), event_ids=tuple(each.event_ids)))
        commits.extend(Commit(iid=iid, turn=turn) for turn in each.turns)
        copied.update(instances=1, history=len(each.turns), waits=len(each.waits), event_ids=len(each.event_ids))
    await target.write(Batch(commits=commits))
    return iids


def _posted(target: Target, key: int, message: AnyMessage, iids: Mapping[int, int]) -> Posted:
    """Bind a message to the new iid; nobody waits for its answer any more."""
    iid = iids.get(message.iid, _NOBODY) if message.iid else 0
    data = encode_message(replace(message, iid=iid, reply_to=None))
    return Posted(target.partition_of(message.instance_id), key, data)


def _compare(expected: Mapping[str, int], copied: Mapping[str, int]) -> None:
    for table in TABLES:
        missing = expected[table] - copied[table]
        if missing:
            raise StoreCorruptError(
                f"Of {table} {missing} rows belong to no instance. Nothing was copied; 'bide db check' names them."
            )
