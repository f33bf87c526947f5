"""What the loop works on: messages under way, and what a pass over them gathers."""

import asyncio
from typing import Any

from bide.core.entities import EntityInstance
from bide.core.instance import Instance
from bide.core.turn import Job
from bide.model.commit import Batch, Posted
from bide.model.messages import AnyMessage, Rewind, TakeUp, encode_message
from bide.runtime.completions import Ended

Resident = Instance | EntityInstance

ALONE = frozenset({Rewind, TakeUp})
"""Messages that begin a pass, and are the only ones of its first round: they read history, which must be stored by then."""


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

    __slots__ = ("batch", "ended", "envelopes", "instances", "jobs", "purged", "wake_at")

    def __init__(self) -> None:
        self.batch = Batch()
        self.envelopes: list[Envelope] = []
        self.jobs: list[tuple[str, str, Job]] = []
        self.instances: dict[str, Resident] = {}
        self.ended: list[Ended] = []
        self.purged: list[str] = []
        self.wake_at: int | None = None


class Inbox:
    """Stores messages that no turn has handled yet, under keys that grow."""

    def __init__(self) -> None:
        self._last_key = 0

    def is_known(self, key: int) -> None:
        """A stored message has this key."""
        self._last_key = max(self._last_key, key)

    def keep(self, envelope: Envelope, message: AnyMessage, work: Pass) -> None:
        """Store `message` with the batch of `work`, unless it is stored already."""
        if envelope.key is None:
            self._last_key += 1
            envelope.key = self._last_key
            work.batch.inbox_added.append(Posted(0, envelope.key, encode_message(message)))
