"""Which instances are handled here, and how messages get to those that are not.

A message for an instance elsewhere goes through a pass like all others: it is put into the inbox of its partition by the pass's
commit. The partition's owner handles it, and its answer comes back as a `Reply` of the commit that holds the effect. So a request
is never lost between two nodes, takes effect once, and is answered when that is durable; if its owner dies before, the next
owner does it.
"""

import asyncio
from collections.abc import Collection
from itertools import count
from typing import Any, NamedTuple

from msgspec.structs import replace

from bide.errors import BideError, StoreUnavailableError
from bide.model.clock import Clock
from bide.model.messages import AnyMessage, AwaitEnd
from bide.model.partitions import partition_of
from bide.runtime.answers import decode_answer
from bide.runtime.passes import Envelope, Inbox, Pass

_KEY_BITS = 40


class Routes:
    """What a node of a cluster knows about where messages go. `owned` are the partitions whose instances it handles."""

    def __init__(self, partitions: int, clock: Clock) -> None:
        self._count = partitions
        self._clock = clock
        self.owned: set[int] = set()
        self.node = 0
        self.requests = 0
        """How many wait for an answer of another node, besides those who only wait for an end."""
        self._asked: dict[int, _Asked] = {}
        self._numbers = count(1)

    def join(self, node: int, inbox: Inbox) -> None:
        """Be node number `node`: keys that it gives to messages differ from all others', and grow."""
        self.node = node
        inbox.number_from(node << _KEY_BITS)

    def partition_of(self, instance_id: str) -> int:
        return partition_of(instance_id, self._count)

    def is_ours(self, instance_id: str) -> bool:
        return partition_of(instance_id, self._count) in self.owned

    def would_own(self, instance_id: str) -> bool:
        """Whether an instance with this new id would be handled here; true for a node that owns nothing."""
        return not self.owned or self.is_ours(instance_id)

    def forward(self, envelope: Envelope, inbox: Inbox, work: Pass) -> None:
        """Store a message for its owner; its sender, if there is one, is answered when the owner has handled it.

        One that is stored already is the owner's to read, and is forgotten here.
        """
        if envelope.key is not None:
            inbox.forget(envelope)
            return
        message = envelope.message
        if envelope.reply is not None:
            message = replace(message, reply_to=(self.node, self._ask(message, envelope.reply)))
        inbox.add(message, work)
        work.forwarded.append(envelope)

    def _ask(self, message: AnyMessage, reply: "asyncio.Future[Any]") -> int:
        """Note who is to be answered; return the number of the request."""
        number = next(self._numbers)
        self._asked[number] = _Asked(reply, message, self._clock.now())
        self.requests += type(message) is not AwaitEnd
        reply.add_done_callback(lambda _: self._is_answered(number))
        return number

    def _is_answered(self, number: int) -> None:
        asked = self._asked.pop(number)
        self.requests -= type(asked.message) is not AwaitEnd

    def on_reply(self, request: int, data: str) -> None:
        """Pass an answer on; one that nobody waits for any more is dropped."""
        asked = self._asked.get(request)
        if asked is None or asked.reply.done():
            return
        try:
            asked.reply.set_result(decode_answer(data))
        except BideError as error:
            asked.reply.set_exception(error)

    def ask_again(self, partitions: Collection[int]) -> None:
        """Let those who wait for the end of an instance in `partitions` ask its owner anew."""
        for asked in list(self._asked.values()):
            is_meant = self.partition_of(asked.message.instance_id) in partitions
            if type(asked.message) is AwaitEnd and is_meant:
                asked.fail("Its owner has changed.")

    def give_up(self, older_than: int = 0) -> None:
        """Answer requests that have waited for so many microseconds: the owner may have handled them, or may yet do so."""
        now = self._clock.now()
        for asked in list(self._asked.values()):
            if now - asked.since >= older_than:
                asked.fail(
                    f"No answer from the node that owns {asked.message.instance_id!r}. The request is stored and may still "
                    "take effect; repeat it with the same event id or instance id."
                )


class _Asked(NamedTuple):
    """A request that another node is to answer."""

    reply: asyncio.Future[Any]
    message: AnyMessage
    since: int

    def fail(self, why: str) -> None:
        if not self.reply.done():
            self.reply.set_exception(StoreUnavailableError(why))
