"""Events that have arrived and that no wait has claimed yet: a first-in-first-out queue for each name.

Names match without regard to case (Durable Functions: "event names are case-insensitive"); the sender's spelling
is kept. Binding is late: an event leaves the mailbox only when a wait that matters claims it (`execution` says
which do), so a wait that lost a race, or that nobody looks at again, never takes one.
"""

from collections import deque
from collections.abc import Iterable

from bide.model.events import EventRaised
from bide.model.names import event_key


class Mailbox:
    """Arrived events by name, and the order in which they arrived across names."""

    __slots__ = ("_queues", "arrivals")

    def __init__(self) -> None:
        self._queues: dict[str, deque[tuple[int, EventRaised]]] = {}
        self.arrivals = 0
        """How many events have ever been put."""

    @property
    def is_empty(self) -> bool:
        return not self._queues

    def put(self, event: EventRaised) -> None:
        self.arrivals += 1
        self._queues.setdefault(event_key(event.name), deque()).append((self.arrivals, event))

    def take(self, key: str, *, until: int | None = None) -> EventRaised | None:
        """Remove and return the oldest event of that name; with `until` only if it was among so many first arrivals."""
        queue = self._queues.get(key)
        if queue is None or (until is not None and queue[0][0] > until):
            return None
        _, event = queue.popleft()
        if not queue:
            del self._queues[key]
        return event

    def oldest_of(self, keys: Iterable[str]) -> str | None:
        """Of these names, the one whose oldest event arrived first; None when none has an event."""
        queues = self._queues
        if not queues:
            return None
        return min((key for key in keys if key in queues), key=lambda key: queues[key][0][0], default=None)

    def counts(self) -> dict[str, int] | None:
        """How many events wait, by the spelling of the oldest of each name; None when there are none."""
        if not self._queues:
            return None
        return {queue[0][1].name: len(queue) for queue in self._queues.values()}

    def drain(self) -> list[EventRaised]:
        """Remove all events and return them in order of arrival."""
        arrived = sorted((item for queue in self._queues.values() for item in queue), key=lambda item: item[0])
        self._queues.clear()
        return [event for _, event in arrived]
