"""The `Store`: what the engine asks of a database, in the engine's own verbs.

One partition owns a store and is its only writer; it calls `load`, `seen_event_ids`, `commit`, `due` and the verbs of
start-up. Everybody may call the queries: they see what is committed, never less than what was committed before
the call. `bide.testing.store_suite` checks every sentence of this contract on every store.

Every verb may raise `StoreUnavailableError` (full disk, I/O error, closed store); driver errors never
leave a store unwrapped. Times are microseconds since the epoch.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

import msgspec

from bide.errors import InvalidInputError
from bide.model.commit import Batch, Turn
from bide.model.instance import DeadLetter, InstanceRow, OrchestrationRuntimeStatus, Wait
from bide.model.queue import QueueMessage

T = TypeVar("T")


class Loaded(msgspec.Struct, frozen=True):
    """An instance as the partition needs it: the row, and its turns in order (none when it has ended).

    `offered` are numbers of the current execution's activities that are left to whichever node claims them.
    """

    row: InstanceRow
    turns: list[Turn]
    offered: frozenset[int] = frozenset()


class StatusRecord(msgspec.Struct, frozen=True):
    """An instance as a query shows it.

    `started` is its first turn's encoded events, which hold the input; `updated_at` the time of its last turn.
    """

    row: InstanceRow
    started: bytes
    updated_at: int


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a longer list. `continuation_token` asks for the next one; None: there is no more."""

    items: list[T]
    continuation_token: str | None = None


class Due(msgspec.Struct, frozen=True):
    """What `due` found: ids of instances with a timer at or before the time asked for, earliest first, and
    when the next timer after those is due (None: there is none).
    """

    instance_ids: list[str]
    next_at: int | None


class InstanceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which instances a query wants; the fields are joined by "and", an empty one asks for nothing.

    `created_from` and `created_to` are inclusive, so are `updated_from` and `updated_to`, which go by the time of the last
    turn. `ended_before` (exclusive) matches ended instances only. `waiting_for` matches an event name without regard to
    case. `entities` asks for entities, whose ids begin with `@`, instead of orchestrations.
    """

    statuses: frozenset[OrchestrationRuntimeStatus] | None = None
    created_from: int | None = None
    created_to: int | None = None
    updated_from: int | None = None
    updated_to: int | None = None
    ended_before: int | None = None
    id_prefix: str | None = None
    name: str | None = None
    waiting_for: str | None = None
    entities: bool = False


class QueueStore(Protocol):
    """Durable message queues. Everybody in the owning process may call these; what they change is durable when they return.

    A queue is there as long as it has messages. A message that is delivered stays, hidden, until it is deleted with the
    receipt of that delivery: it is delivered at least once. A receipt is current until the message is delivered again
    or moved, also when the time for which it was hidden is over.
    """

    async def enqueue(
        self, queue: str, body: str, *, visible_at: int, expires_at: int | None = None, inserted_at: int | None = None
    ) -> int:
        """Add a message and return its id, which grows and is never given out again. `inserted_at` defaults to `visible_at`.

        Raises `InvalidInputError` for a name or body with a NUL or a lone surrogate.
        """
        ...

    async def dequeue(self, queue: str, now: int, visible_at: int, limit: int) -> list[QueueMessage]:
        """Deliver up to `limit` messages that are visible at `now`, those first that have been visible longest.

        In one transaction they are hidden until `visible_at`, counted as delivered once more, and given a new receipt; they come
        back as they are then. Expired messages of the queue are removed.
        """
        ...

    async def delete_message(self, message_id: int, receipt: str) -> bool:
        """Remove a message; False, and no effect, when the receipt is not the current one."""
        ...

    async def release_message(self, message_id: int, receipt: str, visible_at: int) -> bool:
        """Let a delivered message be visible from `visible_at` on; False, and no effect, when the receipt is not current.

        The receipt stays current: this also keeps a message hidden for longer while somebody works on it.
        """
        ...

    async def move_message(self, message_id: int, receipt: str, to_queue: str) -> bool:
        """Put a delivered message into another queue; False, and no effect, when the receipt is not current.

        It keeps its id and its age, is visible at once as if never delivered, and does not expire any more.
        """
        ...

    async def peek(self, queue: str, limit: int) -> list[QueueMessage]:
        """Show messages, hidden ones too, in the order in which they will be delivered. Changes nothing."""
        ...

    async def queue_lengths(self) -> dict[str, int]:
        """How many messages each queue holds, hidden ones too, by name in order."""
        ...

    async def next_visible_at(self, queue: str) -> int | None:
        """When the first message of the queue is, or was, visible; None: it has no messages."""
        ...

    def watch_queue(self, queue: str) -> AbstractContextManager[asyncio.Event]:
        """Make an event that is set after every enqueue, release and move into the queue that is committed, soon or at once.

        A hint, which may also come for nothing: who waits for it must look at `next_visible_at`.
        """
        ...


class SettingStore(Protocol):
    """Small values by name, durable when `put_setting` returns. Everybody in the owning process may call these."""

    async def get_setting(self, name: str) -> str | None:
        """The value, or None."""
        ...

    async def put_setting(self, name: str, value: str | None) -> None:
        """Set the value; None removes it. Raises `InvalidInputError` for a NUL or a lone surrogate in either."""
        ...

    async def replace_setting(self, name: str, old: str | None, new: str) -> bool:
        """Set the value to `new` if it is `old`, or not there with None; False, and no effect, when it is something else.

        Of several who try at a time, one succeeds.
        """
        ...

    async def settings(self, prefix: str) -> dict[str, str]:
        """All values whose name begins with `prefix`, by name in order."""
        ...


class Store(QueueStore, SettingStore, Protocol):
    """Where instances live. See the module's text for who may call what."""

    async def open(self) -> None:
        """Take ownership and bring the schema up to date; then everything else may be called.

        Atomic: an interrupted upgrade leaves the old schema. Raises `StoreLockedError` when another process owns the
        store, `StoreVersionError` when a newer bide wrote it, `StoreCorruptError`, `StoreUnavailableError`
        (read-only, no such folder …), each naming the file and the way out.
        """
        ...

    async def close(self) -> None:
        """Wait for commits under way, give up ownership. Calling it again does nothing."""
        ...

    # What the owning partition calls

    def new_iid(self, instance_id: str) -> int:
        """An iid for a new instance of this id, higher than all that were given out before, also to instances purged since.

        Raises `LeaseLostError` where several share the store, and its partition is not held (any more).
        """
        ...

    async def load(self, instance_ids: Sequence[str]) -> list[Loaded]:
        """The instances among `instance_ids` that exist, in any order, without those that do not."""
        ...

    async def seen_event_ids(self, pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
        """Those of `pairs` (iid, event id) that a commit has remembered."""
        ...

    def commit(self, batch: Batch) -> Awaitable[None]:
        """Write `batch` in one transaction, durable when the awaitable completes.

        Batches are written in the order of the calls, also when the caller does not wait in between; when one fails,
        those after it that were already passed in fail too. All or nothing. The awaitable is bound to the running
        loop, and starts without being awaited.
        """
        ...

    async def due(self, now: int, limit: int) -> Due:
        """Up to `limit` live instances whose `next_timer_at` is at or before `now`."""
        ...

    async def active(self, after_iid: int, limit: int) -> list[tuple[int, str]]:
        """(iid, instance id) of instances with `is_active`, by iid, from above `after_iid`."""
        ...

    async def inbox(self, limit: int | None = None) -> list[tuple[int, bytes]]:
        """Messages that were added and not removed, in the order in which they were added, those of one batch by key.

        The first `limit` of them.
        """
        ...

    # Queries

    async def get(self, instance_id: str) -> StatusRecord | None:
        """One instance, or None."""
        ...

    async def query(self, where: InstanceFilter, *, limit: int = 100, token: str | None = None) -> Page[StatusRecord]:
        """Instances that match, newest first. Pages go by key: page n costs what page 1 does.

        A token is opaque and never expires; `InvalidInputError` for one that no query gave out.
        """
        ...

    async def turns(self, instance_id: str) -> list[Turn]:
        """The whole history of the current execution, in order; empty when there is no such instance."""
        ...

    async def waits(
        self,
        *,
        instance_id: str | None = None,
        name: str | None = None,
        limit: int = 100,
        token: str | None = None,
    ) -> Page[Wait]:
        """Open waits of one instance, or by event name (without regard to case), or all; oldest first."""
        ...

    async def dead_letters(
        self, *, instance_id: str | None = None, limit: int = 100, token: str | None = None
    ) -> Page[DeadLetter]:
        """Dead letters, newest first."""
        ...

    async def children(self, instance_ids: Sequence[str]) -> list[str]:
        """Ids of the instances whose `parent_instance_id` is one of `instance_ids`."""
        ...

    # Retention

    async def expire_dead_letters(self, before: int) -> int:
        """Remove dead letters recorded before that time; how many."""
        ...


_MOST_DIGITS = 19
_LARGEST = (1 << 63) - 1
"""What a store can compare with: a 64-bit integer, of at most 19 digits."""


def parse_token(token: str, length: int) -> tuple[int, ...]:
    """Read a continuation token that is `length` whole numbers joined by dots; `InvalidInputError` for any other."""
    parts = token.split(".")
    if len(parts) == length and all(part.isascii() and part.isdigit() and len(part) <= _MOST_DIGITS for part in parts):
        numbers = tuple(map(int, parts))
        if max(numbers) <= _LARGEST:
            return numbers
    raise InvalidInputError(f"{token!r} is not a continuation token of this list")
