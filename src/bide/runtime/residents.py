"""The instances in memory: which are there, which must stay, and how cold ones come in."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice

import msgspec

from bide.app import App
from bide.core.entities import EntityInstance
from bide.core.history import buffered_events
from bide.core.instance import Instance
from bide.errors import BideError, StoreCorruptError
from bide.model.codec import decode_turn
from bide.model.commit import Turn
from bide.model.entities import ENTITY_MARK
from bide.model.events import EventRaised, ExecutionStarted, HistoryEvent
from bide.model.instance import InstanceRow
from bide.model.messages import Purge, RaiseEvent, StartInstance
from bide.runtime.passes import ALONE, Envelope, Pass, Resident
from bide.store.base import Loaded, Store


class Residents:
    """Orchestrations and entities in memory, the least recently used first.

    An instance with commits under way is pinned: what it has become is not in the store yet. Nor does one go that a pass wants,
    which may wait for the store while commits end. `unusable` are those at which the engine itself failed, with the error
    for those who ask for them.
    """

    def __init__(self, app: App, store: Store, *, limit: int, is_running: Callable[[str, str, int], bool]) -> None:
        """`limit` is how many may stay; `is_running` tells whether a job (instance, execution, task) runs already."""
        self._app = app
        self._store = store
        self._limit = limit
        self._is_running = is_running
        self._instances: OrderedDict[str, Resident] = OrderedDict()
        self._pinned: dict[str, int] = {}
        self._wanted: set[str] = set()
        self.unusable: dict[str, BideError] = {}
        self.at_work_on: str | None = None
        """The instance that is being loaded, or told a message, just now."""

    def __len__(self) -> int:
        return len(self._instances)

    def get(self, instance_id: str) -> Resident | None:
        return self._instances.get(instance_id)

    def put(self, instance: Resident) -> None:
        self._instances[instance.row.instance_id] = instance

    def touch(self, instance_id: str) -> None:
        """It was used just now."""
        self._instances.move_to_end(instance_id)

    def forget(self, instance_id: str) -> None:
        """It is removed from the store; whoever has the id next is another one."""
        self._instances.pop(instance_id, None)
        self.unusable.pop(instance_id, None)

    def clear(self) -> None:
        """Drop all, pinned or not: what is in memory may rest on a commit that failed."""
        for instance in self._instances.values():
            instance.close()
        self._instances.clear()
        self._pinned.clear()
        self._wanted.clear()

    # Who may go

    def pin(self, instance_ids: Iterable[str]) -> None:
        for instance_id in instance_ids:
            self._pinned[instance_id] = self._pinned.get(instance_id, 0) + 1

    def unpin(self, instance_ids: Iterable[str]) -> None:
        """Their commit is done. One that has ended goes."""
        for instance_id in instance_ids:
            left = self._pinned.get(instance_id, 0) - 1
            if left > 0:
                self._pinned[instance_id] = left
                continue
            self._pinned.pop(instance_id, None)
            self._drop_ended(instance_id)

    def release(self) -> None:
        """The pass for which they were loaded has told them its messages."""
        wanted, self._wanted = self._wanted, set()
        for instance_id in wanted:
            self._drop_ended(instance_id)

    def _drop_ended(self, instance_id: str) -> None:
        instance = self._instances.get(instance_id)
        if instance is not None and instance.has_ended and not instance.is_open and self._may_go(instance_id):
            del self._instances[instance_id]

    def _may_go(self, instance_id: str) -> bool:
        return instance_id not in self._pinned and instance_id not in self._wanted

    def is_pinned(self, instance_id: str) -> bool:
        return instance_id in self._pinned

    def drop(self, is_gone: Callable[[str], bool]) -> None:
        """Drop those that are handled elsewhere from now on, and what is known of them."""
        for instance_id in [each for each in self._instances if is_gone(each)]:
            self.evict(instance_id)
        for instance_id in [each for each in self.unusable if is_gone(each)]:
            del self.unusable[instance_id]

    def evict(self, instance_id: str) -> bool:
        """Drop an instance, unless it is pinned or wanted. Nothing changes but time."""
        if instance_id not in self._instances or not self._may_go(instance_id):
            return False
        self._instances.pop(instance_id).close()
        return True

    def evict_surplus(self) -> None:
        surplus = len(self._instances) - self._limit
        if surplus > 0:
            oldest = (key for key in self._instances if self._may_go(key))
            for instance_id in list(islice(oldest, surplus)):  # not all of them: this runs after each commit
                self.evict(instance_id)

    # How they come in

    async def load(self, envelopes: list[Envelope], work: Pass) -> None:
        """Bring in the cold instances among the targets, and what else must be read from the store.

        They stay until `release`.
        """
        self._wanted.update(envelope.message.instance_id for envelope in envelopes)
        cold = set[str]()
        for envelope in envelopes:
            message = envelope.message
            if message.instance_id not in self._instances and not (
                type(message) is StartInstance and message.is_new_id
            ):
                cold.add(message.instance_id)
        # One that has changed and is not here has been removed, by a commit that the store may not have seen yet.
        cold.difference_update(self._pinned, work.instances)
        if cold:
            for loaded in await self._store.load(list(cold)):
                self._admit(loaded, work)
        await self._find_duplicates(envelopes)
        for envelope in envelopes:
            if type(envelope.message) in ALONE:
                envelope.answer = await self._store.turns(envelope.message.instance_id)
        await self._find_leftovers(envelopes)

    def _admit(self, loaded: Loaded, work: Pass) -> None:
        row, turns = loaded.row, loaded.turns
        self.at_work_on = row.instance_id
        unusable = self.unusable.get(row.instance_id)
        events: list[HistoryEvent] = []
        if unusable is None and not row.status.is_ended:
            try:
                events = history_of(row.instance_id, turns)
            except StoreCorruptError as error:
                unusable = error
        instance = self._restored(row, events, turns[-1].seq + 1 if events else 0)
        instance.unreadable = unusable
        self._instances[row.instance_id] = instance
        known = self._app.orchestrators if type(instance) is Instance else self._app.entities
        instance.is_stranded = instance.unreadable is not None or row.name not in known
        if row.is_active and not instance.is_stranded:
            work.jobs.extend(
                (row.instance_id, row.execution_id, task)
                for task in instance.jobs
                if task.task_id not in loaded.offered
                and not self._is_running(row.instance_id, row.execution_id, task.task_id)
            )

    def _restored(self, row: InstanceRow, events: list[HistoryEvent], seq: int) -> Resident:
        if row.instance_id[0] == ENTITY_MARK:
            return EntityInstance(row, events, seq)
        return Instance(row, self._app.orchestrators.get(row.name), events, seq)

    async def _find_duplicates(self, envelopes: list[Envelope]) -> None:
        """Mark the events whose id the store has seen on their instance: `answer` is that instance's iid."""
        pairs: dict[tuple[int, str], list[Envelope]] = {}
        for envelope in envelopes:
            message = envelope.message
            if type(message) is RaiseEvent and message.event_id is not None:
                instance = self.get(message.instance_id)
                if instance is not None:
                    pairs.setdefault((instance.row.iid, message.event_id), []).append(envelope)
        if pairs:
            for pair in await self._store.seen_event_ids(list(pairs)):
                for envelope in pairs[pair]:
                    envelope.answer = pair[0]

    async def _find_leftovers(self, envelopes: list[Envelope]) -> None:
        """Read what nobody has consumed of instances that are to be removed, where only their history tells."""
        for envelope in envelopes:
            if type(envelope.message) in {StartInstance, Purge}:
                instance = self.get(envelope.message.instance_id)
                if isinstance(instance, Instance) and instance.leftover is None and instance.execution is None:
                    instance.leftover = await self._leftover_of(instance.row)

    async def _leftover_of(self, row: InstanceRow) -> list[EventRaised]:
        try:
            return buffered_events(events_of(await self._store.turns(row.instance_id)), row.buffered or {})
        except msgspec.DecodeError:
            return []


def history_of(instance_id: str, turns: Iterable[Turn]) -> list[HistoryEvent]:
    """Decode the history of an instance. Raises `StoreCorruptError` when it cannot be read, or is none."""
    try:
        events = events_of(turns)
    except msgspec.DecodeError as error:
        raise unreadable(instance_id, error) from error
    if not events:
        raise unreadable(instance_id, "it is empty")
    if instance_id[:1] != ENTITY_MARK and not isinstance(events[0], ExecutionStarted):
        raise unreadable(instance_id, f"it begins with {events[0].event_type}")
    return events


def unreadable(instance_id: str, why: object) -> StoreCorruptError:
    """Say that, and what to do."""
    return StoreCorruptError(
        f"The history of instance {instance_id!r} cannot be read: {why}. "
        "Restore a backup, or purge the instance with force."
    )


def events_of(turns: Iterable[Turn]) -> list[HistoryEvent]:
    """Decode the turns of a history."""
    return [event for turn in turns for event in decode_turn(turn.data)]
