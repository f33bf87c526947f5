"""The life of one instance: messages in, one `Commit` a turn out.

An `Instance` is what the partition keeps in memory. In a turn it is told any number of messages (`start`,
`raise_event`, `task_done` …); each becomes history events, which the execution takes in at once. `close_turn` sums up
what is new. Nothing it says may leave the process before that commit is durable.

==================  ===============================================================================
runtime status      leads to
==================  ===============================================================================
Pending             Running (its time has come), Suspended, Terminated
Running             Suspended, Completed, Failed, Terminated; Running again by continue_as_new
Suspended           Running or Pending (resume), Terminated
Failed              Running (rewind)
==================  ===============================================================================
"""

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from bide.core.execution import Action, Completed, ContinuedAsNew, Execution, Failed
from bide.core.history import effective_history, open_tasks
from bide.core.orchestrator import Orchestrator
from bide.core.tasks import EventTask
from bide.core.turn import Job, TurnResult
from bide.errors import BideError, InstanceStateError, NonDeterminismError
from bide.model.codec import encode_payload, encode_turn
from bide.model.commit import Commit, Turn
from bide.model.entities import LockRequest, OperationRequest, TaskAddress
from bide.model.events import (
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from bide.model.failure import FailureDetails, failure_of
from bide.model.instance import (
    DeadLetter,
    DeadLetterReason,
    IdReusePolicy,
    InstanceRow,
    OrchestrationRuntimeStatus,
    Wait,
)
from bide.model.messages import (
    AnyMessage,
    Begin,
    RaiseEvent,
    RequestEntity,
    StartInstance,
    TakeUp,
    TaskDone,
    TaskKind,
    Terminate,
    UnlockEntity,
)

_RUNNING = OrchestrationRuntimeStatus.RUNNING
_PENDING = OrchestrationRuntimeStatus.PENDING
_SUSPENDED = OrchestrationRuntimeStatus.SUSPENDED
_COMPLETED = OrchestrationRuntimeStatus.COMPLETED
_FAILED = OrchestrationRuntimeStatus.FAILED
_TERMINATED = OrchestrationRuntimeStatus.TERMINATED

_ACTIVITY, _CHILD, _LOCK = (
    TaskKind.ACTIVITY,
    TaskKind.CHILD,
    TaskKind.LOCK,
)  # an enum's attribute costs a look-up each time

_GENERATIONS = UUID("f0a6bd0e-6f1b-5b8c-9a53-0a4f4b5c1a77")
"""Name space of execution ids: the id of the next generation is made from the current one's, not drawn."""


class Instance:
    """See the module's text."""

    def __init__(
        self, row: InstanceRow, orchestrator: Orchestrator | None, history: list[HistoryEvent], seq: int
    ) -> None:
        """Bring an instance back from the store. Without history it can only be asked: it has ended.

        `seq` is the number of the next turn.
        """
        self.row = row
        self.has_ended = row.status.is_ended
        self.leftover: list[EventRaised] | None = [] if row.buffered is None else None
        """What nobody had consumed when it failed; None: only the store knows."""
        self.unreadable: BideError | None = None
        """Set when the stored history cannot be read; then the instance can only be purged."""
        self.is_stranded = False
        """Set when its code is not registered here, or its history cannot be read: messages to it are kept."""
        self._stored_row = row
        self.execution: Execution | None = None
        self.activities: dict[int, TaskScheduled] = {}
        self._children: dict[int, SubOrchestrationInstanceCreated] = {}
        self._timers: dict[int, int] = {}
        self._calls: dict[int, EntityOperationCalled] = {}
        self._locks: dict[int, EntityLockRequested] = {}
        self._parked: dict[int, Wait] | None = None  # None: only the store knows them
        self._orchestrator = orchestrator
        self._started = _started_of(history)
        self._broken: FailureDetails | None = None
        self._seq = seq
        self._reset_turn()
        if history and not self.has_ended:
            self._replay(orchestrator, history)

    @classmethod
    def start(cls, message: StartInstance, iid: int, orchestrator: Orchestrator, now: int) -> "Instance":
        """Make a new instance and run its first turn, unless it is to start later."""
        is_later = message.start_at is not None and message.start_at > now
        row = InstanceRow(
            iid=iid,
            instance_id=message.instance_id,
            name=message.name,
            status=_PENDING if is_later else _RUNNING,
            created_at=now,
            execution_id=message.execution_id,
            version=message.version,
            parent_instance_id=message.parent_instance_id,
            tags=message.tags,
            start_at=message.start_at if is_later else None,
        )
        instance = cls(row, orchestrator, [], 0)
        instance._is_new = True
        instance._parked = {}
        instance.open_turn(now)
        instance._begin_generation(
            ExecutionStarted(
                name=message.name,
                execution_id=message.execution_id,
                input=message.input,
                version=message.version,
                parent_instance_id=message.parent_instance_id,
                parent_task_id=message.parent_task_id,
                parent_execution_id=message.parent_execution_id,
                tags=message.tags,
            ),
            [],
        )
        if not is_later:
            instance._begin_code()
        return instance

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
    def input(self) -> str | None:
        """What the current generation was started with, as JSON text."""
        return self._started.input if self._started is not None else None

    @property
    def jobs(self) -> Sequence[Job]:
        """The code that is to be running now."""
        return list(self.activities.values())

    def close(self) -> None:
        """Forget the user's code; the instance is dropped from memory."""
        if self.execution is not None:
            self.execution.close()

    def raise_event(self, message: RaiseEvent) -> None:
        """Take in an external event: it is consumed, or waits in the mailbox. The instance must be live."""
        if message.event_id is not None:
            self._event_ids.append(message.event_id)
        self._run_code()
        self._record(EventRaised(message.name, message.input, self._now, message.event_id))

    def task_done(self, message: TaskDone) -> None:
        """Take in a result; one of an earlier generation, or a second one, is dropped."""
        if message.execution_id != self.row.execution_id or not self._is_wanted(message):
            self._outbox.extend(unlocks(address_of(message), message.entities))
            return
        self._run_code()
        self._record(_result_event(message))

    def _is_wanted(self, message: TaskDone) -> bool:
        """Whether the task is open, and now no longer; a lock that was granted stays until it is given back."""
        if self._broken is not None:
            return True  # what is open only the code could say; whatever comes first makes the run fail
        kind = message.kind
        if kind is _ACTIVITY:
            return self.activities.pop(message.task_id, None) is not None
        if kind is _LOCK:
            is_wanted = message.task_id in self._locks
            if message.failure is not None:
                self._unlock(message.task_id)
            return is_wanted
        open_: dict[int, Any] = self._children if kind is _CHILD else self._calls
        return open_.pop(message.task_id, None) is not None

    def fire_timers(self) -> None:
        """Fire the timers that are due, earliest first; start a Pending instance whose time has come."""
        if self.row.status is _PENDING:
            if (self.row.start_at or 0) <= self._now:
                self._set_running()
                self._begin_code()
            return
        if self._broken is not None:
            self._fail(self._broken)
            return
        due = sorted((at, task_id) for task_id, at in self._timers.items() if at <= self._now)
        for _, task_id in due:
            if self._timers.pop(task_id, None) is not None:  # the code may have cancelled it since
                self._run_code()
                self._record(TimerFired(task_id))

    def begin(self, execution_id: str) -> None:
        """Run the first turn of a new generation."""
        if execution_id == self.row.execution_id and self.execution is not None and not self.execution.has_begun:
            self._begin_code()

    def suspend(self, reason: str | None) -> None:
        if self.row.status is _SUSPENDED:
            return
        self._record(ExecutionSuspended(reason))
        if not self.has_ended:
            self.row.status = _SUSPENDED

    def resume(self, reason: str | None) -> None:
        if self.row.status is not _SUSPENDED:
            return
        is_later = self.row.start_at is not None and self.row.start_at > self._now
        if is_later:
            self.row.status = _PENDING
        else:
            self._set_running()
            self._stamp()
        self._record(ExecutionResumed(reason))

    def terminate(self, message: Terminate) -> None:
        """End at once, also while Pending or Suspended."""
        self._events.append(ExecutionTerminated(message.reason))
        if message.recursive:
            self._outbox.extend(
                Terminate(instance_id=child.instance_id, reason=message.reason, recursive=True)
                for child in self._children.values()
            )
        failure = FailureDetails("TerminatedError", message.reason or "The sub-orchestration was terminated")
        self._end(_TERMINATED, encode_payload(message.reason), failure)

    def rewind(self, reason: str | None, orchestrator: Orchestrator, history: list[HistoryEvent], seq: int) -> None:
        """Take up a Failed instance: what made it fail is tried anew.

        `history` is all of it, `seq` the number of the next turn. Raises `InstanceStateError` when it is not Failed,
        `NonDeterminismError` when the code no longer fits the history; then nothing has changed.
        """
        if self.row.status is not _FAILED:
            raise InstanceStateError(self.row.instance_id, self.row.status.label, "rewind", "a Failed one")
        task_ids = _failed_tasks(orchestrator, self.row.instance_id, history)
        taken_up = [OrchestratorStarted(self._now), ExecutionRewound(reason, tuple(task_ids))]
        execution = self._rewound(orchestrator, [*history, *taken_up])
        self._orchestrator = orchestrator
        self._attach(execution, [*history, *taken_up])
        self._events.extend(taken_up)
        self._is_stamped = True
        self._seq = seq
        self._set_running()
        self.has_ended = False
        self.row.output = self.row.failure = self.row.ended_at = None
        self._new_activities.extend(self.activities.values())
        for child in self._children.values():
            start = self._start_child(child, IdReusePolicy.REPLACE_ENDED)
            self._outbox.append(TakeUp(instance_id=child.instance_id, start=start))
        self._outbox.extend(self._call_entity(call) for call in self._calls.values())
        self._after_step()

    def _rewound(self, orchestrator: Orchestrator, history: list[HistoryEvent]) -> Execution:
        """Run the code up to where it failed. Locks that it held then are gone, and what they protected may have changed."""
        in_section = InstanceStateError(
            self.row.instance_id, "Failed inside a critical section", "rewind", "one that holds no locks"
        )
        try:
            execution = Execution(orchestrator, self.row.instance_id, history)
        except NonDeterminismError as error:
            if any(isinstance(event, EntityUnlockSent) for event in _last_turn(history)):
                raise in_section from error
            raise
        if execution.lock is not None:
            raise in_section
        return execution

    def is_run_of(self, start: StartInstance) -> bool:
        """Whether this is, perhaps generations later, what `start` once started."""
        execution_id = start.execution_id
        for _ in range(self.row.generation):
            execution_id = _next_generation(execution_id)
        return execution_id == self.row.execution_id

    def remove(self, now: int) -> tuple[list[DeadLetter], list[AnyMessage]]:
        """Give what is left of it to others: events that nobody consumed, locks, and the news for its parent."""
        self._now = now
        self._reset_turn()
        self._give_back_locks()
        if not self.has_ended:
            self._notify_parent(None, FailureDetails("InstanceRemovedError", "The sub-orchestration was removed"))
        left = self.execution.unconsumed() if self.execution is not None else self.leftover or []
        self._bury(left, DeadLetterReason.DISCARDED)
        return self._dead_letters, self._outbox

    # The turn

    def close_turn(self) -> TurnResult | None:
        """Sum up the turn; None when nothing changed. The commit's values are never changed afterwards."""
        row, is_changed = self.row, self._finish_row()
        if not self._events and not self._dead_letters and not self._outbox:
            self._reset_turn()
            # The code may have changed, and want another timer than what is stored; nothing has happened to it.
            return TurnResult(Commit(iid=row.iid, update=row), [], [], has_ended=False) if is_changed else None
        opened, closed = self._changed_waits()
        commit = Commit(
            iid=row.iid,
            insert=row if self._is_new else None,
            update=row if is_changed and not self._is_new else None,
            turn=Turn(self._seq, self._now, encode_turn(self._events)) if self._events else None,
            clear_history=self._clears_history,
            waits_opened=opened,
            waits_closed=closed,
            event_ids=tuple(self._event_ids),
            dead_letters=tuple(self._dead_letters),
        )
        result = TurnResult(commit, self._new_activities, self._outbox, has_ended=self.has_ended)
        self._seq += bool(self._events)
        self._is_new = False
        self._reset_turn()
        return result

    def _reset_turn(self) -> None:
        self._is_open = False
        self._is_stamped = False
        self._clears_history = False
        self._events: list[HistoryEvent] = []
        self._event_ids: list[str] = []
        self._dead_letters: list[DeadLetter] = []
        self._new_activities: list[Job] = []
        self._outbox: list[AnyMessage] = []

    _is_new = False
    _now = 0

    def _finish_row(self) -> bool:
        """Fill in what follows from the rest; tell whether the row differs from what is stored."""
        row = self.row
        row.next_timer_at = self._next_timer()
        row.is_active = bool(self.activities)
        if self.execution is not None:
            row.buffered = self.execution.buffered()
        return row != self._stored_row

    def _next_timer(self) -> int | None:
        if self.row.status is _PENDING:
            return self.row.start_at
        return min(self._timers.values()) if self._timers else None

    def _changed_waits(self) -> tuple[tuple[Wait, ...], tuple[int, ...] | None]:
        """Which waits the turn opened, and the numbers of those it closed; None for all that there are."""
        parked = self.execution.parked() if self.execution is not None else ()
        before = self._parked
        if not parked and before is not None and not before:
            return (), ()
        if before is None or self._clears_history:
            self._parked = {task.number: self._wait_of(task) for task in parked}
            return tuple(self._parked.values()), None
        now = {task.number: before.get(task.number) or self._wait_of(task) for task in parked}
        self._parked = now
        opened = tuple(wait for number, wait in now.items() if number not in before)
        return opened, tuple(number for number in before if number not in now)

    def _wait_of(self, task: EventTask[Any]) -> Wait:
        return Wait(
            instance_id=self.row.instance_id,
            number=task.number,
            name=task.name,
            since=task.since if task.since is not None else self._now,
            deadline=task.timer.fire_at if task.timer is not None else None,
            type=_spelling(task.type),
        )

    # Running the code

    def _replay(self, orchestrator: Orchestrator | None, history: list[HistoryEvent]) -> None:
        try:
            execution = Execution(orchestrator, self.row.instance_id, history) if orchestrator is not None else None
        except NonDeterminismError as error:
            self._broken = failure_of(error)
            execution = None
        if execution is None:
            self._locks = open_tasks(effective_history(history)).locks  # to be given back, whatever becomes of it
        else:
            self._attach(execution, history)
            # self._parked stays None: the code may have changed since, and then the stored waits are not those of today.

    def _attach(self, execution: Execution, history: list[HistoryEvent]) -> None:
        self.execution = execution
        self._started = execution.started
        tasks = open_tasks(effective_history(history))
        self.activities = tasks.activities
        self._children = tasks.children
        self._calls = tasks.calls
        self._locks = tasks.locks
        self._timers = {id_: at for id_, at in tasks.timers.items() if execution.is_open(id_)}

    def _run_code(self) -> None:
        """Open the turn for the code, if it is to run in this state."""
        execution = self.execution
        if self.row.status is _RUNNING and (execution is None or execution.has_begun):
            self._stamp()

    def _begin_code(self) -> None:
        self._stamp()
        self._after_step()

    def _stamp(self) -> None:
        if not self._is_stamped:
            self._is_stamped = True
            last = self.execution.now if self.execution is not None else 0
            event = OrchestratorStarted(max(self._now, last))
            self._events.append(event)
            if self.execution is not None:
                self.execution.apply(event)

    def _record(self, event: HistoryEvent) -> None:
        self._events.append(event)
        if self._broken is not None:
            if isinstance(event, EventRaised):
                if self.leftover is not None:
                    self.leftover.append(event)
                self.row.buffered = {
                    **(self.row.buffered or {}),
                    event.name: (self.row.buffered or {}).get(event.name, 0) + 1,
                }
            self._fail(self._broken)
        elif self.execution is not None:
            self.execution.apply(event)
            self._after_step()

    def _after_step(self) -> None:
        """Record what the code asked for, and its end."""
        execution = self.execution
        if execution is None:
            return
        for action in execution.take_actions():
            self._events.append(action)
            self._schedule(action)
        for task_id in execution.take_canceled_timers():
            self._timers.pop(task_id, None)
        if execution.has_new_status:
            execution.has_new_status = False
            self.row.custom_status = execution.custom_status
        if execution.outcome is not None:
            self._conclude(execution, execution.outcome)

    def _schedule(self, action: Action) -> None:
        match action:
            case TaskScheduled():
                self.activities[action.task_id] = action
                self._new_activities.append(action)
            case TimerCreated():
                self._timers[action.task_id] = action.fire_at
            case SubOrchestrationInstanceCreated():
                self._children[action.task_id] = action
                self._outbox.append(self._start_child(action, IdReusePolicy.REPLACE_ENDED))
            case EventSent():
                self._outbox.append(
                    RaiseEvent(
                        instance_id=action.instance_id,
                        name=action.name,
                        input=action.input,
                        event_id=self._address(action.task_id).as_id(),
                    )
                )
            case EntityOperationCalled():
                self._calls[action.task_id] = action
                self._outbox.append(self._call_entity(action))
            case EntityOperationSignaled():
                request = OperationRequest(self._address(action.task_id).as_id(), action.name, action.input)
                self._outbox.append(
                    RequestEntity(instance_id=action.instance_id, request=request, scheduled_at=action.scheduled_at)
                )
            case EntityLockRequested():
                self._locks[action.task_id] = action
                lock = LockRequest(self._address(action.task_id), action.entities)
                self._outbox.append(RequestEntity(instance_id=action.entities[0], request=lock))
            case EntityUnlockSent():
                self._unlock(action.lock_id)

    def _address(self, task_id: int) -> TaskAddress:
        return TaskAddress(self.row.instance_id, self.row.execution_id, task_id)

    def _call_entity(self, call: EntityOperationCalled) -> RequestEntity:
        caller = self._address(call.task_id)
        request = OperationRequest(caller.as_id(), call.name, call.input, caller)
        return RequestEntity(instance_id=call.instance_id, request=request)

    def _unlock(self, lock_id: int) -> None:
        lock = self._locks.pop(lock_id, None)
        if lock is not None:
            self._outbox.extend(unlocks(self._address(lock_id), lock.entities))

    def _give_back_locks(self) -> None:
        """Give back all locks which the instance holds or has asked for: it is about to end."""
        for task_id, lock in self._locks.items():
            self._outbox.extend(unlocks(self._address(task_id), lock.entities))

    def _leave_tasks(self) -> None:
        """Nobody wants the results any more, nor the locks."""
        self._give_back_locks()
        for open_ in (self._timers, self.activities, self._children, self._calls, self._locks):
            open_.clear()

    def _start_child(self, child: SubOrchestrationInstanceCreated, reuse: IdReusePolicy) -> StartInstance:
        return StartInstance(
            instance_id=child.instance_id,
            name=child.name,
            execution_id=uuid5(_GENERATIONS, f"{self.row.execution_id}:{child.task_id}").hex,
            input=child.input,
            reuse=reuse,
            version=child.version,
            parent_instance_id=self.row.instance_id,
            parent_task_id=child.task_id,
            parent_execution_id=self.row.execution_id,
        )

    def _conclude(self, execution: Execution, outcome: Completed | Failed | ContinuedAsNew) -> None:
        match outcome:
            case Completed():
                self._events.append(ExecutionCompleted(_COMPLETED))
                self._end(_COMPLETED, outcome.result, None)
            case Failed():
                self._fail(outcome.failure)
            case ContinuedAsNew():
                self._continue_as_new(execution, outcome)

    def _fail(self, failure: FailureDetails) -> None:
        self._events.append(ExecutionCompleted(_FAILED, failure))
        self._end(_FAILED, encode_payload(failure.message), failure)

    def _end(self, status: OrchestrationRuntimeStatus, output: str | None, failure: FailureDetails | None) -> None:
        """Enter a final status. Events that nobody consumed are dead, but for a Failed one: it may be rewound."""
        self.row.status = status
        self.has_ended = True
        self.row.output = output
        self.row.failure = failure if status is _FAILED else None
        self.row.ended_at = self._now
        self._leave_tasks()
        self._notify_parent(output if status is _COMPLETED else None, failure)
        if self.execution is not None:
            if status is _FAILED:
                self.row.buffered = self.execution.buffered()
                self.leftover = self.execution.unconsumed()
            else:
                self._bury(self.execution.unconsumed(), DeadLetterReason.UNCONSUMED)
                self.row.buffered = None
            self.execution.close()
            self.execution = None

    def _notify_parent(self, result: str | None, failure: FailureDetails | None) -> None:
        started = self._started
        if started is None or started.parent_instance_id is None or started.parent_task_id is None:
            return
        self._outbox.append(
            TaskDone(
                instance_id=started.parent_instance_id,
                execution_id=started.parent_execution_id or "",
                task_id=started.parent_task_id,
                result=result,
                failure=failure,
                kind=_CHILD,
            )
        )

    def _continue_as_new(self, execution: Execution, outcome: ContinuedAsNew) -> None:
        carried = execution.unconsumed()
        if not outcome.preserve_events:
            self._bury(carried, DeadLetterReason.DISCARDED)
            carried = []
        execution.close()
        self._leave_tasks()
        before = execution.started
        self.row.generation += 1
        self.row.execution_id = _next_generation(self.row.execution_id)
        self.row.version = outcome.version or self.row.version
        self._new_activities.clear()
        self._clears_history = True
        self._events.clear()
        self._is_stamped = False
        self._begin_generation(
            ExecutionStarted(
                name=before.name,
                execution_id=self.row.execution_id,
                input=outcome.input,
                version=self.row.version,
                parent_instance_id=before.parent_instance_id,
                parent_task_id=before.parent_task_id,
                parent_execution_id=before.parent_execution_id,
                generation=self.row.generation,
                tags=before.tags,
            ),
            carried,
        )
        self._outbox.append(Begin(instance_id=self.row.instance_id, execution_id=self.row.execution_id))

    def _begin_generation(self, started: ExecutionStarted, carried: list[EventRaised]) -> None:
        assert self._orchestrator is not None
        self._started = started
        self.execution = Execution(self._orchestrator, self.row.instance_id)
        for event in (started, *carried):
            self._events.append(event)
            self.execution.apply(event)

    def _set_running(self) -> None:
        self.row.status = _RUNNING
        self.row.start_at = None

    def _bury(self, events: list[EventRaised], reason: DeadLetterReason) -> None:
        self._dead_letters.extend(dead_letter(self.row.instance_id, event, self._now, reason) for event in events)


def dead_letter(instance_id: str, event: EventRaised, now: int, reason: DeadLetterReason) -> DeadLetter:
    return DeadLetter(instance_id, event.name, event.input, event.event_id, event.timestamp, now, reason)


def _next_generation(execution_id: str) -> str:
    return uuid5(_GENERATIONS, execution_id).hex


def _started_of(history: Iterable[HistoryEvent]) -> ExecutionStarted | None:
    return next((event for event in history if isinstance(event, ExecutionStarted)), None)


def _failed_tasks(orchestrator: Orchestrator, instance_id: str, history: list[HistoryEvent]) -> list[int]:
    try:
        return Execution(orchestrator, instance_id, history).failed_tasks()
    except NonDeterminismError:
        return []  # it failed because of just that; the code may have been mended since


def _last_turn(history: Sequence[HistoryEvent]) -> Iterable[HistoryEvent]:
    """The events of the turn before the one that rewinds, last one first."""
    ended = next(at for at in reversed(range(len(history))) if isinstance(history[at], ExecutionCompleted))
    return takewhile(lambda event: not isinstance(event, OrchestratorStarted), reversed(history[:ended]))


def address_of(message: TaskDone) -> TaskAddress:
    """The task that the message ends."""
    return TaskAddress(message.instance_id, message.execution_id, message.task_id)


def unlocks(owner: TaskAddress, entities: Iterable[str]) -> list[UnlockEntity]:
    """Make the messages that give back the locks of `entities`."""
    return [UnlockEntity(instance_id=entity, owner=owner) for entity in entities]


def _result_event(message: TaskDone) -> HistoryEvent:
    task_id, failure = message.task_id, message.failure
    if failure is not None:
        return _FAILURES[message.kind](task_id, failure)
    if message.kind is _ACTIVITY:
        return TaskCompleted(task_id, message.result)
    if message.kind is _LOCK:
        return EntityLockGranted(task_id)
    kind = SubOrchestrationInstanceCompleted if message.kind is _CHILD else EntityOperationCompleted
    return kind(task_id, message.result)


_FAILURES = {
    TaskKind.ACTIVITY: TaskFailed,
    TaskKind.CHILD: SubOrchestrationInstanceFailed,
    TaskKind.CALL: EntityOperationFailed,
    TaskKind.LOCK: EntityOperationFailed,
}


def _spelling(into: Any) -> str | None:
    if into is None or into is msgspec.Raw:
        return None
    return into.__qualname__ if isinstance(into, type) else str(into)
