"""The life of one entity: requests in, one `Commit` a turn out.

An entity does what it is asked in the order in which it is asked. Operations are run in batches, by somebody else: at
most one batch at a time, and one operation after the other. What has arrived, and what is being run, is in the entity's
history; the state, in its row, changes when a batch is done, in the same commit as the answers and signals that come of it.
A batch whose result was lost is run again: the code of an operation runs at least once, its effects happen once.

A lock request waits in the queue like an operation. At the front it gets the lock, and the request goes on to the next
entity of the chain; the last one tells the orchestration. While there is a lock, only its owner's operations pass.

Requests and what becomes of them are history events, applied alike when they happen and when they are read back. When most of
the history is done with, it begins anew with one event that holds what is left. An entity that has nothing to
remember and nothing to do is removed.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice, takewhile
from typing import Any, ClassVar
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from bide.core.instance import address_of, unlocks
from bide.core.turn import Job, TurnResult
from bide.errors import BideError, EntityNotFoundError
from bide.model.codec import encode_turn
from bide.model.commit import Commit, Turn
from bide.model.entities import (
    EntityBatch,
    EntityId,
    EntityRequest,
    EntitySummary,
    LockRequest,
    OperationRequest,
    SignalAction,
    StartAction,
)
from bide.model.events import (
    EntityBatchCompleted,
    EntityBatchStarted,
    EntityLocked,
    EntityRequested,
    EntitySignalsDue,
    EntityStarted,
    EntityUnlocked,
    HistoryEvent,
)
from bide.model.failure import FailureDetails
from bide.model.instance import DeadLetter, DeadLetterReason, InstanceRow, OrchestrationRuntimeStatus
from bide.model.messages import (
    AnyMessage,
    EntityBatchDone,
    RequestEntity,
    StartInstance,
    TaskDone,
    TaskKind,
    TimersDue,
    UnlockEntity,
)

LARGEST_BATCH = 256
"""Operations whose effects are written in one commit; also how far a crash throws an entity back."""
_EXECUTIONS = UUID("6a1c9d0e-54c7-5c3f-8f0a-7d6f1f3c5b21")
"""Name space of execution ids: they tell an entity from one that had the same id and was removed."""


class EntityInstance:
    """See the module's text; `unreadable` and `is_stranded` are as in `Instance`."""

    has_ended = False
    input = None

    def __init__(self, row: InstanceRow, history: Sequence[HistoryEvent], seq: int) -> None:
        """Bring an entity back from the store; `seq` is the number of the next turn."""
        self.row = row
        self.unreadable: BideError | None = None
        self.is_stranded = False
        self._stored_row = row
        self._lock: LockRequest | None = None
        self._queue: list[EntityRequest] = []
        self._delayed: list[tuple[int, OperationRequest]] = []
        self._running: tuple[OperationRequest, ...] = ()
        self._batches = 0
        self._batch_at = 0
        self._recorded = 0  # events since the history began
        self._seq = seq
        self._is_new = False
        self._now = 0
        self._reset_turn()
        for event in history:
            self._apply(event)

    @classmethod
    def create(cls, entity_id: EntityId, iid: int, now: int) -> "EntityInstance":
        row = InstanceRow(
            iid=iid,
            instance_id=str(entity_id),
            name=entity_id.name,
            status=OrchestrationRuntimeStatus.RUNNING,
            created_at=now,
            execution_id=uuid5(_EXECUTIONS, f"{entity_id}:{iid}:{now}").hex,
        )
        entity = cls(row, (), 0)
        entity._is_new = True
        return entity

    @classmethod
    def told(cls, row: InstanceRow, history: Sequence[HistoryEvent]) -> "EntityInstance":
        """Make the row anew from `history`, as far as it follows from it: of `row` only ids, age and state are taken.

        The execution id was made of the iid that the entity had at first: a copy of the store may have given it another.
        """
        new = cls.create(EntityId.parse(row.instance_id), row.iid, row.created_at).row
        new.output, new.execution_id = row.output, row.execution_id
        entity = cls(new, history, 0)
        entity._finish_row()
        return entity

    # Messages in

    def open_turn(self, now: int) -> None:
        """Begin to gather a turn, at time `now`."""
        self._is_open = True
        self._now = now
        self._stored_row = self.row
        self.row = replace(self.row)  # what was handed to the store never changes

    @property
    def is_open(self) -> bool:
        """Whether a turn has been opened and not closed."""
        return self._is_open

    @property
    def jobs(self) -> Sequence[Job]:
        """The code that is to be running now."""
        return [self._batch()] if self._running else []

    def close(self) -> None:
        """Nothing of the user's is kept here."""

    def receive(self, message: AnyMessage) -> None:
        """Take in a message; the turn must be open."""
        self._RECEIVERS[type(message)](self, message)

    def _on_request(self, message: RequestEntity) -> None:
        at = message.scheduled_at
        self._record(EntityRequested(message.request, at if at is not None and at > self._now else None))

    def _on_timers_due(self, message: TimersDue) -> None:  # noqa: ARG002
        if any(at <= self._now for at, _ in self._delayed):
            self._record(EntitySignalsDue(self._now))

    def _on_unlock(self, message: UnlockEntity) -> None:
        self._go_on()  # what the owner asked for before is still done under its lock
        if any(lock.owner == message.owner for lock in self._locks()):
            self._record(EntityUnlocked(message.owner))

    def _on_batch_done(self, message: EntityBatchDone) -> None:
        is_ours = (message.execution_id, message.task_id) == (self.row.execution_id, self._batches)
        if not is_ours or not self._running:
            return
        result = message.result
        for operation, done in zip(self._running, result.results, strict=True):
            answer = answer_to(operation, done.result, done.failure)
            if answer is not None:
                self._outbox.append(answer)
        self._outbox.extend(_message_of(action) for action in result.actions)
        self.row.output = result.state
        self._record(EntityBatchCompleted())

    def _locks(self) -> list[LockRequest]:
        """The lock there is, and those that are asked for."""
        asked = [request for request in self._queue if isinstance(request, LockRequest)]
        return asked if self._lock is None else [self._lock, *asked]

    def remove(self, now: int) -> tuple[list[DeadLetter], list[AnyMessage]]:
        """Tell all who wait for the entity that it is removed; signals that it has not done are dead."""
        failure = FailureDetails("EntityPurgedError", f"Entity {self.row.instance_id} was removed before it answered")
        left = (*self._running, *self._queue, *(request for _, request in self._delayed))
        answers = (answer_to(request, None, failure) for request in left)
        letters = (dead_signal(self.row.instance_id, request, now, DeadLetterReason.DISCARDED) for request in left)
        return [each for each in letters if each is not None], [each for each in answers if each is not None]

    # The turn

    def close_turn(self) -> TurnResult | None:
        """Sum up the turn; None when nothing changed. The commit's values are never changed afterwards.

        When nothing is left of the entity the commit removes it.
        """
        self._go_on()
        if not self._events:
            self._reset_turn()
            return None
        jobs = self.jobs if self._has_new_batch else []
        result = TurnResult(self._commit(), jobs, self._outbox, has_ended=False)
        self._seq += 1
        self._is_new = False
        self._reset_turn()
        return result

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember and nothing to do."""
        return not (self._running or self._queue or self._delayed or self._lock) and self.row.output is None

    def _commit(self) -> Commit:
        row = self.row
        if self.is_empty:
            return Commit(iid=row.iid, purge=True)
        self._finish_row()
        is_renewed = self._recorded > len(self._queue) + len(self._delayed) + len(self._running)
        if is_renewed:
            self._events[:] = [self._begin_anew()]
        return Commit(
            iid=row.iid,
            insert=row if self._is_new else None,
            update=row if row != self._stored_row and not self._is_new else None,
            turn=Turn(self._seq, self._now, encode_turn(self._events)),
            clear_history=is_renewed and not self._is_new,
        )

    def _reset_turn(self) -> None:
        self._is_open = False
        self._has_new_batch = False
        self._events: list[HistoryEvent] = []
        self._outbox: list[AnyMessage] = []

    def _finish_row(self) -> None:
        row = self.row
        row.next_timer_at = min((at for at, _ in self._delayed), default=None)
        row.is_active = bool(self._running)
        summary = EntitySummary(
            self._lock.owner.instance_id if self._lock is not None else None, len(self._running) + len(self._queue)
        )
        row.custom_status = msgspec.json.encode(summary).decode() if summary != EntitySummary() else None

    def _begin_anew(self) -> EntityStarted:
        self._recorded = 0
        return EntityStarted(
            self._lock, tuple(self._queue), tuple(self._delayed), self._running, self._batches, self._batch_at
        )

    # What to do next

    def _go_on(self) -> None:
        """Give the lock to the first in the queue, or have the next operations run, as far as that is possible now."""
        while self._queue and not self._running:
            first = self._queue[0]
            if self._lock is None and isinstance(first, LockRequest):
                self._record(EntityLocked())
                self._outbox.append(_after_lock(first))
                continue
            size = len(self._next_operations(LARGEST_BATCH))
            if not size:
                return
            self._record(EntityBatchStarted(size, self._now))
            self._has_new_batch = True

    def _next_operations(self, limit: int) -> list[OperationRequest]:
        """The operations that may run, in order: up to a lock request; while locked those of the owner, wherever they stand."""
        lock = self._lock
        reachable = takewhile(_is_operation, self._queue) if lock is None else self._queue
        operations = (each for each in reachable if isinstance(each, OperationRequest))
        return list(islice((each for each in operations if lock is None or each.is_from(lock.owner)), limit))

    def _batch(self) -> EntityBatch:
        row = self.row
        return EntityBatch(row.instance_id, row.execution_id, self._batches, self._batch_at, row.output, self._running)

    # Events

    def _record(self, event: HistoryEvent) -> None:
        self._events.append(event)
        self._apply(event)

    def _apply(self, event: HistoryEvent) -> None:
        self._recorded += 1
        self._APPLIERS[type(event)](self, event)

    def _started(self, event: EntityStarted) -> None:
        self._recorded = 0
        self._lock = event.lock
        self._queue = list(event.queue)
        self._delayed = list(event.delayed)
        self._running = event.running
        self._batches = event.batches
        self._batch_at = event.batch_at

    def _requested(self, event: EntityRequested) -> None:
        if event.scheduled_at is None:
            self._queue.append(event.request)
        elif isinstance(event.request, OperationRequest):
            self._delayed.append((event.scheduled_at, event.request))

    def _signals_due(self, event: EntitySignalsDue) -> None:
        due = [each for each in self._delayed if each[0] <= event.timestamp]
        self._delayed = [each for each in self._delayed if each[0] > event.timestamp]
        self._queue.extend(request for _, request in sorted(due, key=lambda each: each[0]))

    def _locked(self, event: EntityLocked) -> None:  # noqa: ARG002
        first = self._queue.pop(0)
        assert isinstance(first, LockRequest)
        self._lock = first

    def _unlocked(self, event: EntityUnlocked) -> None:
        if self._lock is not None and self._lock.owner == event.owner:
            self._lock = None
        self._queue = [each for each in self._queue if not isinstance(each, LockRequest) or each.owner != event.owner]

    def _batch_started(self, event: EntityBatchStarted) -> None:
        self._running = tuple(self._next_operations(event.size))
        taken = set(map(id, self._running))
        self._queue = [each for each in self._queue if id(each) not in taken]
        self._batches += 1
        self._batch_at = event.timestamp

    def _batch_completed(self, event: EntityBatchCompleted) -> None:  # noqa: ARG002
        self._running = ()

    _RECEIVERS: ClassVar[Mapping[type[Any], Callable[..., None]]] = {
        RequestEntity: _on_request,
        UnlockEntity: _on_unlock,
        EntityBatchDone: _on_batch_done,
        TimersDue: _on_timers_due,
    }
    _APPLIERS: ClassVar[Mapping[type[HistoryEvent], Callable[..., None]]] = {
        EntityStarted: _started,
        EntityRequested: _requested,
        EntitySignalsDue: _signals_due,
        EntityLocked: _locked,
        EntityUnlocked: _unlocked,
        EntityBatchStarted: _batch_started,
        EntityBatchCompleted: _batch_completed,
    }


def answer_to(request: EntityRequest, result: str | None, failure: FailureDetails | None) -> TaskDone | None:
    """Tell the orchestration that asked what came of it; None when nobody waits for an answer."""
    is_lock = isinstance(request, LockRequest)
    address = request.owner if isinstance(request, LockRequest) else request.caller
    if address is None:
        return None
    return TaskDone(
        instance_id=address.instance_id,
        execution_id=address.execution_id,
        task_id=address.task_id,
        result=result,
        failure=failure,
        kind=TaskKind.LOCK if is_lock else TaskKind.CALL,
        entities=request.entities if isinstance(request, LockRequest) else (),
    )


def refusal(message: RequestEntity, error: EntityNotFoundError) -> TaskDone | None:
    """Tell the orchestration that asked that there is no such entity; None when nobody waits for an answer."""
    return answer_to(message.request, None, FailureDetails(type(error).__name__, str(error), is_non_retriable=True))


def dead_signal(entity_id: str, request: EntityRequest, now: int, reason: DeadLetterReason) -> DeadLetter | None:
    """Make a dead letter of a signal that no entity will do; None for what has somebody who waits for an answer."""
    if isinstance(request, LockRequest) or request.caller is not None:
        return None
    return DeadLetter(entity_id, request.name, request.input, request.id, now, now, reason)


def unwanted(message: TaskDone) -> list[UnlockEntity]:
    """What is to be done when nobody is there to take a result: give back the lock, if it is one."""
    return unlocks(address_of(message), message.entities)


def _after_lock(lock: LockRequest) -> AnyMessage:
    """Hand the request on along the chain; the last one tells the owner."""
    position = lock.position + 1
    if position < len(lock.entities):
        return RequestEntity(instance_id=lock.entities[position], request=replace(lock, position=position))
    answer = answer_to(lock, None, None)
    assert answer is not None
    return answer


def _message_of(action: SignalAction | StartAction) -> AnyMessage:
    if isinstance(action, SignalAction):
        request = OperationRequest(action.id, action.name, action.input)
        return RequestEntity(instance_id=action.entity_id, request=request, scheduled_at=action.scheduled_at)
    return StartInstance(instance_id=action.instance_id, name=action.name, execution_id=action.id, input=action.input)


def _is_operation(request: EntityRequest) -> bool:
    return isinstance(request, OperationRequest)
