"""What the loop works on: messages under way, and what a pass over them gathers."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from bide.core.entities import EntityInstance
from bide.core.instance import Instance
from bide.core.turn import Job
from bide.model.commit import Batch, Posted
from bide.model.messages import AnyMessage, Rewind, TakeUp, decode_message, encode_message
from bide.runtime.completions import Address, Ended
from bide.store.base import Store

_log = logging.getLogger("bide.partition")

Resident = Instance | EntityInstance

ALONE = frozenset({Rewind, TakeUp})
"""Messages that begin a pass, and are the only ones of its first round: they read history, which must be stored by then."""


NO_ANSWER: Any = object()
"""What an envelope holds for which the answer comes later."""


class Envelope:
    """A message under way: who wants the answer, and under which inbox key it is stored, if it is."""

    __slots__ = ("answer", "key", "message", "reply")

    def __init__(self, message: AnyMessage, reply: "asyncio.Future[Any] | None" = None, key: int | None = None) -> None:
        self.message = message
        self.reply = reply
        self.key = key
        self.answer: Any = None


class Pass:
    """What one pass has gathered: the batch, and the effects that wait for it."""

    __slots__ = ("batch", "ended", "envelopes", "followers", "forwarded", "instances", "jobs", "purged", "wake_at")

    def __init__(self) -> None:
        self.batch = Batch()
        self.envelopes: list[Envelope] = []
        self.forwarded: list[Envelope] = []
        self.jobs: list[tuple[str, str, Job]] = []
        self.instances: dict[str, Resident] = {}
        self.ended: list[Ended] = []
        self.followers: list[tuple[str, list[Address]]] = []
        self.purged: list[str] = []
        self.wake_at: int | None = None


class Inbox:
    """Stored messages: those that no turn has handled yet, under keys that grow.

    In a store that others share, messages come that somebody else has stored. What is read while a batch is being written that
    removes it is seen, and must not be taken a second time: a key is known until the removal is durable, and until a
    reading that began before has ended.
    """

    def __init__(self, store: Store, partition_of: Callable[[str], int] | None) -> None:
        """`partition_of` tells the partition of an instance, in a store that others share."""
        self._store = store
        self._is_shared = partition_of is not None
        self._partition_of = partition_of if partition_of is not None else lambda _: 0
        self._last_key = 0
        self._known: dict[int, int] = {}  # keys, and the partition of each
        self._left: set[int] = set()
        self._removed_meanwhile: set[int] | None = None

    def number_from(self, key: int) -> None:
        """Keys above this one are ours to give."""
        self._last_key = max(self._last_key, key)

    def add(self, message: AnyMessage, work: Pass) -> int:
        """Store `message`, for whoever owns its receiver, with the batch of `work`; return its key."""
        self._last_key += 1
        partition = self._partition_of(message.instance_id)
        work.batch.inbox_added.append(Posted(partition, self._last_key, encode_message(message)))
        return self._last_key

    def keep(self, envelope: Envelope, message: AnyMessage, work: Pass) -> None:
        """Store `message` with the batch of `work`, unless it is stored already."""
        if envelope.key is None:
            envelope.key = self.add(message, work)
            self._know(envelope)

    def _know(self, envelope: Envelope) -> None:
        assert envelope.key is not None
        self._known[envelope.key] = self._partition_of(envelope.message.instance_id)

    def remove(self, envelope: Envelope, work: Pass) -> None:
        """Remove a message, if it is stored, with the batch of `work`: a turn handles it."""
        if envelope.key is not None:
            work.batch.inbox_removed.append((self._partition_of(envelope.message.instance_id), envelope.key))

    def are_removed(self, keys: Iterable[tuple[int, int]]) -> None:
        """The store has them no more."""
        if self._removed_meanwhile is None:
            self._forget(key for _, key in keys)
        else:
            self._removed_meanwhile.update(key for _, key in keys)

    async def read(self, limit: int | None = None) -> tuple[list[Envelope], bool]:
        """Read stored messages that are not known yet, about `limit` of them, and whether there may be more."""
        self._removed_meanwhile = set()
        wanted = None if limit is None else limit + len(self._known)
        try:
            rows = await self._store.inbox(wanted)
        finally:
            gone, self._removed_meanwhile = self._removed_meanwhile, None
        if not self._is_shared and rows:
            self.number_from(rows[-1][0])
        fresh = [
            each for key, data in rows if key not in self._known and (each := self._envelope(key, data)) is not None
        ]
        self._forget(gone)
        for envelope in fresh:
            self._know(envelope)
        return fresh, wanted is not None and len(rows) == wanted

    def _envelope(self, key: int, data: bytes) -> Envelope | None:
        """Take up a message; one that cannot be read stays where it is, and stops nobody."""
        if key in self._left:
            return None
        try:
            return Envelope(decode_message(data), key=key)
        except msgspec.DecodeError as error:
            self.leave([key])
            _log.error("message %d of the inbox cannot be read, and is left there: %s", key, error)
            return None

    def leave(self, keys: Iterable[int]) -> None:
        """Leave these messages where they are, until the next start."""
        self._left.update(keys)

    def forget(self, envelope: Envelope) -> None:
        """Whoever reads next takes this one anew."""
        if envelope.key is not None:
            self._forget([envelope.key])

    def forget_all(self, partitions: Collection[int] | None = None) -> None:
        """Whoever reads next takes anew what is in these partitions; None: in any."""
        self._known = {} if partitions is None else {k: p for k, p in self._known.items() if p not in partitions}

    def _forget(self, keys: Iterable[int]) -> None:
        for key in keys:
            self._known.pop(key, None)
