"""One execution of an orchestrator: user code, what it asked for, and what it waits for.

An `Execution` is fed history events, one after the other, in the order of the history, and runs the code as far as each
of them lets it. It does so in the same way whether an event just happened or is replayed, which is what makes a
resident instance and a replayed one the same thing.

What the code asks for is an *action*; an action here is simply the history event that will record it
(`TaskScheduled`, `TimerCreated` …). Live, actions are taken by the caller and recorded. In replay the recorded events
come back and are held against what the code asked for: anything else is `NonDeterminismError`.
A turn is written in one commit, so in replay each turn must ask for exactly what history holds for it.

Events claim waits late. `_block_on` and `offer` let the waits in a task claim events from the mailbox, oldest
event first, and stop as soon as the task is done: the losers of `task_any` claim nothing.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any
from uuid import UUID, uuid5

from bide.core.context import NO_DEFAULT, OrchestrationContext
from bide.core.history import effective_history
from bide.core.locks import EntityLock, LockTask
from bide.core.mailbox import Mailbox
from bide.core.orchestrator import Finished, Orchestrator, Steps, location_of, start
from bide.core.tasks import PENDING, ActivityTask, EventTask, Task, TimerTask, open_waits
from bide.errors import EventPayloadError, NonDeterminismError, OrchestratorContractError, TaskFailedError
from bide.model.clock import LATEST, to_datetime
from bide.model.codec import decode_payload, encode_payload, iso_time
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
from bide.model.failure import FailureDetails, failure_of, type_name
from bide.model.names import event_key

_UUID_NAMESPACE = UUID("5bf3dc27-d91d-5ea7-9c3e-9f1f2ae7c309")
"""uuid5(NAMESPACE_OID, "9e952958-5e33-4daf-827f-2fa12937b875"), as azure-functions-durable and durabletask have it."""

Action = (
    TaskScheduled
    | TimerCreated
    | SubOrchestrationInstanceCreated
    | EventSent
    | EntityOperationSignaled
    | EntityOperationCalled
    | EntityLockRequested
    | EntityUnlockSent
)


class Completed:
    """The code returned. `result` is JSON text."""

    __slots__ = ("result",)

    def __init__(self, result: str | None) -> None:
        self.result = result


class Failed:
    """The code raised, or broke a rule."""

    __slots__ = ("failure",)

    def __init__(self, failure: FailureDetails) -> None:
        self.failure = failure


class ContinuedAsNew:
    """The code asked for a new generation and returned."""

    __slots__ = ("input", "preserve_events", "version")

    def __init__(self, input_: str | None, *, preserve_events: bool, version: str | None) -> None:
        self.input = input_
        self.preserve_events = preserve_events
        self.version = version


Outcome = Completed | Failed | ContinuedAsNew


class Execution:
    """See the module's text. `outcome` is None until the code has ended."""

    def __init__(self, orchestrator: Orchestrator, instance_id: str, history: Iterable[HistoryEvent] = ()) -> None:
        """Start from `history`, replaying it; it must begin with ExecutionStarted."""
        self.instance_id = instance_id
        self.mailbox = Mailbox()
        self.outcome: Outcome | None = None
        self.is_replaying = False
        self.is_suspended = False
        self.now = 0
        self.custom_status: str | None = None
        self.has_new_status = False
        self.lock: EntityLock | None = None
        """The locks that the code has asked for and not given back."""
        self._orchestrator = orchestrator
        self._first_wait = -1 if orchestrator.newest_wait_first else 0
        self._started: ExecutionStarted | None = None
        self._steps: Steps | None = None
        self.has_begun = False
        self._blocked_on: Task[Any] | None = None
        self._failed_on: Task[Any] | None = None
        self._waiters: dict[str, list[EventTask[Any]]] = {}
        self._open: dict[int, ActivityTask[Any] | TimerTask] = {}
        self._actions: list[Action] = []
        self._unconfirmed: dict[int, Action] = {}
        self._canceled_timers: list[int] = []
        self._held: list[HistoryEvent] = []
        self._has_expired = False
        self._next_task = 0
        self._next_wait = 0
        self._next_uuid = 0
        self._continue: ContinuedAsNew | None = None
        self._is_closed = False
        self._replay(history)

    # History in

    def apply(self, event: HistoryEvent) -> None:
        """Take in the next event and run the code as far as it goes."""
        if self.is_suspended and not isinstance(event, _NOT_HELD):
            self._held.append(event)
        elif (handler := _HANDLERS.get(type(event))) is not None:
            handler(self, event)

    def _replay(self, history: Iterable[HistoryEvent]) -> None:
        events = list(history)
        if not events:
            return
        self.is_replaying = True
        is_rewinding = isinstance(events[-1], ExecutionRewound)
        events = effective_history(events)
        rewinds = [at for at, event in enumerate(events) if isinstance(event, ExecutionRewound)]
        strict_from = rewinds[-1] if rewinds else 0  # what a rewind tries anew is recorded later than it is asked for
        for at, event in enumerate(events):
            if at >= strict_from and isinstance(event, OrchestratorStarted):
                self._require_confirmed()
            self.apply(event)
        if is_rewinding:
            # What the code asks for anew is recorded by the turn that rewinds.
            self._actions = list(self._unconfirmed.values())
            self._unconfirmed.clear()
        elif self.outcome is not None and not isinstance(events[-1], ExecutionCompleted):
            raise self._not_deterministic("an execution that goes on", "its end")
        self._require_confirmed()
        self.is_replaying = False
        self.has_new_status = is_rewinding and self.has_new_status

    def _require_confirmed(self) -> None:
        for action in self._unconfirmed.values():
            raise self._not_deterministic("nothing more in this turn", _describe(action))

    def _on_execution_started(self, event: ExecutionStarted) -> None:
        self._started = event

    def _on_orchestrator_started(self, event: OrchestratorStarted) -> None:
        self.now = event.timestamp
        if not self.has_begun and not self.is_suspended:
            self._begin()

    def _on_event_raised(self, event: EventRaised) -> None:
        waiters = self._waiters.get(event_key(event.name))
        while waiters:
            task = waiters.pop(self._first_wait)
            if task._state is PENDING and self.is_blocked_on(task):
                self._give(task, event)
                self._run_on()
                return
        self.mailbox.put(event)

    def _on_task_completed(
        self, event: TaskCompleted | SubOrchestrationInstanceCompleted | EntityOperationCompleted
    ) -> None:
        task = self._open.pop(event.task_id, None)
        if isinstance(task, ActivityTask):
            self._resolve(task, event.result)
            self._run_on()

    def _on_lock_granted(self, event: EntityLockGranted) -> None:
        task = self._open.pop(event.task_id, None)
        if isinstance(task, LockTask):
            task.lock.is_held = True
            task._complete(task.lock)
            self._run_on()

    def _on_task_failed(self, event: TaskFailed | SubOrchestrationInstanceFailed | EntityOperationFailed) -> None:
        task = self._open.pop(event.task_id, None)
        if isinstance(task, ActivityTask):
            if isinstance(task, LockTask):
                self.lock = None
            task._fail(_task_error(task.name, event.failure))
            self._run_on()

    def _on_timer_fired(self, event: TimerFired) -> None:
        task = self._open.pop(event.task_id, None)
        if task is not None:
            task._complete(None)
            self._run_on()

    def _on_recorded(self, event: Action) -> None:
        asked = self._unconfirmed.pop(event.task_id, None)
        if asked is None:
            raise self._not_deterministic(_describe(event), "nothing of the kind")
        if not _is_same(event, asked):
            raise self._not_deterministic(_describe(event), _describe(asked))

    def _on_suspended(self, event: ExecutionSuspended) -> None:  # noqa: ARG002
        self.is_suspended = True

    def _on_resumed(self, event: ExecutionResumed) -> None:  # noqa: ARG002
        self.is_suspended = False
        if self.now and not self.has_begun:
            self._begin()
        held, self._held = self._held, []
        for each in held:
            self.apply(each)

    def _on_terminated(self, event: ExecutionTerminated) -> None:  # noqa: ARG002
        self.close()

    # User code

    def _begin(self) -> None:
        self.has_begun = True
        self._guarded(self._call)

    def _call(self) -> None:
        steps = start(self._orchestrator, OrchestrationContext(self))
        if isinstance(steps, Finished):
            self._finish(steps.value)
        else:
            self._steps = steps
            self._advance(None, None)

    def _run_on(self) -> None:
        """Go on if what the code is blocked on is done."""
        task = self._blocked_on
        if task is not None and task._state is not PENDING:
            self._guarded(self._advance_with, task)

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """Run user code; whatever it raises ends the execution as Failed. The border to user code."""
        try:
            step(*arguments)
        except (KeyboardInterrupt, NonDeterminismError):
            raise
        except BaseException as error:  # noqa: BLE001  (SystemExit and a stray CancelledError fail the run, not the engine)
            self._blocked_on = None
            self.outcome = Failed(failure_of(_without_engine_frames(error)))

    def _advance_with(self, task: Task[Any]) -> None:
        if task._error is not None:
            self._failed_on = task
        self._advance(task._value, task._error)

    def _advance(self, value: Any, error: BaseException | None) -> None:
        """Send the result of what was awaited into the code, until it blocks on a task that is not done."""
        steps = self._steps
        assert steps is not None
        self._waiters = {}  # from here on, what the code waited for so far may claim nothing any more
        while True:
            self._blocked_on = None
            try:
                task = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as stop:
                self._finish(stop.value)
                return
            if self._is_closed:
                return
            value, error = None, None
            if not isinstance(task, Task):
                error = _not_a_task(task)
                continue
            if not self._block_on(task):
                return
            value, error = task._value, task._error
            if error is not None:
                self._failed_on = task

    def _block_on(self, task: Task[Any]) -> bool:
        """Offer buffered events to `task`; whether it is done. If not, remember which waits arriving events may claim."""
        self._failed_on = None  # the code went on after a failure: a rewind cannot take that back
        if task._state is PENDING and task._has_waits:
            self.offer(task)
        if task._state is not PENDING:
            return True
        self._blocked_on = task
        waiters: dict[str, list[EventTask[Any]]] = {}
        for wait in open_waits(task):
            if wait.since is None:
                wait.since = self.now
            if wait.key in waiters:
                waiters[wait.key].append(wait)
            else:
                waiters[wait.key] = [wait]
        self._waiters = waiters
        return False

    def _finish(self, value: Any) -> None:
        self._steps = None
        if self._continue is not None:
            self.outcome = self._continue
        else:
            self.outcome = Completed(encode_payload(value, f"The result of orchestrator {self._orchestrator.name!r}"))

    def close(self) -> None:
        """Forget the user's code. Its `finally` blocks run, and can no longer change anything."""
        self._is_closed = True
        self._blocked_on = None
        steps, self._steps = self._steps, None
        if steps is not None:
            # A clean-up that yields, or raises on GeneratorExit, concerns nobody any more: the run is over.
            with contextlib.suppress(BaseException):
                steps.close()

    # Waits and events

    def is_blocked_on(self, task: Task[Any]) -> bool:
        """Whether the code still waits for `task`, by itself or in composites that are not done."""
        if task is self._blocked_on:
            return True
        return any(
            isinstance(parent, Task) and parent._state is PENDING and self.is_blocked_on(parent)
            for parent in task._parents
        )

    def expire(self, task: EventTask[Any]) -> None:
        """Its time is over. If nobody waits for it now, that is settled when somebody does: see `offer`."""
        if self.is_blocked_on(task):
            task.time_out()
        else:
            task.expired_at = self.mailbox.arrivals
            self._has_expired = True

    def offer(self, task: Task[Any]) -> None:
        """Let the waits in `task` claim buffered events, oldest event first, until `task` is done.

        One whose time was over before takes an event that had arrived by then, or times out.
        """
        if self._has_expired:
            for wait in open_waits(task):
                if wait.expired_at is not None and wait._state is PENDING:
                    event = self.mailbox.take(wait.key, until=wait.expired_at)
                    wait.time_out() if event is None else self._give(wait, event)
        while task._state is PENDING and not self.mailbox.is_empty:
            candidates = open_waits(task)
            if self._first_wait == 0:
                candidates.reverse()
            waits = {wait.key: wait for wait in candidates}  # of several for one name the last stays
            key = self.mailbox.oldest_of(waits)
            event = self.mailbox.take(key) if key is not None else None
            if key is None or event is None:
                return
            self._give(waits[key], event)

    def _give(self, task: EventTask[Any], event: EventRaised) -> None:
        try:
            value = decode_payload(event.input, task.type)
        except Exception as error:  # noqa: BLE001  (types are the user's code: their hooks may raise anything)
            task._fail(EventPayloadError(event.name, event.input, str(error)))
        else:
            task._complete(value)

    def parked(self) -> list[EventTask[Any]]:
        """List the waits that the code is blocked on."""
        return open_waits(self._blocked_on) if self._blocked_on is not None else []

    def unconsumed(self) -> list[EventRaised]:
        """Remove and return the events that no wait has claimed, in order of arrival, those held by a suspension too."""
        held, self._held = self._held, []
        return [*self.mailbox.drain(), *(event for event in held if isinstance(event, EventRaised))]

    def buffered(self) -> dict[str, int] | None:
        """How many unclaimed events there are by name; None when there are none."""
        counts = self.mailbox.counts()
        for event in self._held:
            if isinstance(event, EventRaised):
                counts = counts or {}
                counts[event.name] = counts.get(event.name, 0) + 1
        return counts

    # Actions out

    def take_actions(self) -> list[Action]:
        """What the code has asked for since the last call, in order."""
        actions, self._actions = self._actions, []
        return actions

    def take_canceled_timers(self) -> list[int]:
        canceled, self._canceled_timers = self._canceled_timers, []
        return canceled

    def is_open(self, task_id: int) -> bool:
        """Whether the code still wants the result of that task: a timer that it cancelled is not open."""
        return task_id in self._open

    def failed_tasks(self) -> list[int]:
        """Ids of the failed tasks that made the code fail: what a rewind tries anew."""
        if not isinstance(self.outcome, Failed) or self._failed_on is None:
            return []
        return [task.task_id for task in self._failed_on.failed_parts()]

    def _act(self, action: Action) -> None:
        if self._is_closed:
            raise OrchestratorContractError(f"The execution of {self.instance_id!r} is over.")
        if self.is_replaying:
            self._unconfirmed[action.task_id] = action
        else:
            self._actions.append(action)

    def _new_task_id(self) -> int:
        task_id = self._next_task
        self._next_task += 1
        return task_id

    # What the context asks for

    @property
    def started(self) -> ExecutionStarted:
        assert self._started is not None
        return self._started

    def schedule_activity(self, name: str, input_: Any, into: Any) -> ActivityTask[Any]:
        task: ActivityTask[Any] = ActivityTask(self, self._new_task_id(), name, into)
        self._open[task.task_id] = task
        self._act(TaskScheduled(task.task_id, name, encode_payload(input_, f"The input of activity {name!r}")))
        return task

    def schedule_child(
        self, name: str, input_: Any, into: Any, instance_id: str | None, version: str | None
    ) -> ActivityTask[Any]:
        if self.lock is not None:
            self.lock.check_child(name)
        task: ActivityTask[Any] = ActivityTask(self, self._new_task_id(), name, into)
        child = instance_id or f"{self.started.execution_id}:{task.task_id:04x}"
        if child.casefold() == self.instance_id.casefold():
            raise OrchestratorContractError(f"Instance {child!r} cannot be its own sub-orchestration.")
        self._open[task.task_id] = task
        text = encode_payload(input_, f"The input of sub-orchestration {name!r}")
        self._act(SubOrchestrationInstanceCreated(task.task_id, name, child, text, version))
        return task

    def start_timer(self, fire_at: int) -> TimerTask:
        fire_at = min(fire_at, LATEST)
        task = TimerTask(self, self._new_task_id(), fire_at)
        self._open[task.task_id] = task
        self._act(TimerCreated(task.task_id, fire_at))
        return task

    def cancel_timer(self, task_id: int) -> None:
        if self._open.pop(task_id, None) is not None and not self.is_replaying:
            self._canceled_timers.append(task_id)

    def wait_for_event(self, name: str, into: Any, timeout: int | None, default: Any) -> EventTask[Any]:
        task: EventTask[Any] = EventTask(self, self._next_wait, name, event_key(name), into)
        self._next_wait += 1
        if timeout is not None:
            if default is not NO_DEFAULT:
                task.default = (default,)
            task.timer = self.start_timer(self.now + timeout)
            task.timer._parents.append(_Timeout(self, task))
        return task

    def send_event(self, instance_id: str, name: str, data: Any) -> None:
        text = encode_payload(data, f"The data of event {name!r}")
        self._act(EventSent(self._new_task_id(), instance_id, name, text))

    def call_entity(self, entity_id: str, operation: str, input_: Any, into: Any) -> ActivityTask[Any]:
        if self.lock is not None:
            self.lock.check_call(entity_id)
        text = encode_payload(input_, f"The input of operation {operation!r}")
        task: ActivityTask[Any] = ActivityTask(self, self._new_task_id(), f"{operation} of {entity_id}", into)
        if self.lock is not None:
            self.lock.called(entity_id, task)
        self._open[task.task_id] = task
        self._act(EntityOperationCalled(task.task_id, entity_id, operation, text))
        return task

    def signal_entity(self, entity_id: str, operation: str, input_: Any, scheduled_at: int | None) -> None:
        if self.lock is not None:
            self.lock.check_signal(entity_id)
        text = encode_payload(input_, f"The input of operation {operation!r}")
        self._act(EntityOperationSignaled(self._new_task_id(), entity_id, operation, text, scheduled_at))

    def lock_entities(self, entities: tuple[str, ...]) -> LockTask:
        if self.lock is not None:
            raise OrchestratorContractError(f"There is {self.lock!r} already: lock all entities in one call.")
        task_id = self._new_task_id()
        self.lock = EntityLock(self, task_id, entities)
        task = LockTask(self, task_id, self.lock)
        self._open[task_id] = task
        self._act(EntityLockRequested(task_id, entities))
        return task

    def release(self, lock: EntityLock, task_id: int) -> None:
        """Give the locks back, unless that has been done, or the execution is over: then the instance does it."""
        if self.lock is lock and not self._is_closed:
            self.lock = None
            self._open.pop(task_id, None)
            self._act(EntityUnlockSent(self._new_task_id(), task_id))

    def continue_as_new(self, input_: Any, *, preserve_events: bool, version: str | None) -> None:
        text = encode_payload(input_, "The input of continue_as_new")
        self._continue = ContinuedAsNew(text, preserve_events=preserve_events, version=version)

    def set_custom_status(self, text: str | None) -> None:
        self.custom_status = text
        self.has_new_status = True

    def new_uuid(self) -> UUID:
        number = self._next_uuid
        self._next_uuid += 1
        return uuid5(_UUID_NAMESPACE, f"{self.instance_id}_{iso_time(to_datetime(self.now))}_{number}")

    def _resolve(self, task: ActivityTask[Any], result: str | None) -> None:
        try:
            value = decode_payload(result, task.type)
        except Exception as error:  # noqa: BLE001  (types are the user's code: their hooks may raise anything)
            task._fail(TaskFailedError(task.name, type_name(type(error)), f"its result does not fit: {error}"))
        else:
            task._complete(value)

    def _not_deterministic(self, expected: str, actual: str) -> NonDeterminismError:
        return NonDeterminismError(self.instance_id, expected, actual, location_of(self._steps))


class _Timeout:
    """Stands among the parents of a wait's timer: when the timer fires first, the wait is over."""

    __slots__ = ("_execution", "_task")

    def __init__(self, execution: Execution, task: EventTask[Any]) -> None:
        self._execution = execution
        self._task = task

    def _child_done(self, child: Task[Any]) -> None:
        task = self._task
        if child._error is not None or task._state is not PENDING:  # it was cancelled, or the event was first
            return
        self._execution.expire(task)


_HANDLERS: Mapping[type[HistoryEvent], Callable[[Execution, Any], None]] = {
    ExecutionStarted: Execution._on_execution_started,
    OrchestratorStarted: Execution._on_orchestrator_started,
    EventRaised: Execution._on_event_raised,
    TaskCompleted: Execution._on_task_completed,
    SubOrchestrationInstanceCompleted: Execution._on_task_completed,
    TaskFailed: Execution._on_task_failed,
    SubOrchestrationInstanceFailed: Execution._on_task_failed,
    EntityOperationCompleted: Execution._on_task_completed,
    EntityOperationFailed: Execution._on_task_failed,
    EntityLockGranted: Execution._on_lock_granted,
    TimerFired: Execution._on_timer_fired,
    TaskScheduled: Execution._on_recorded,
    TimerCreated: Execution._on_recorded,
    SubOrchestrationInstanceCreated: Execution._on_recorded,
    EventSent: Execution._on_recorded,
    EntityOperationSignaled: Execution._on_recorded,
    EntityOperationCalled: Execution._on_recorded,
    EntityLockRequested: Execution._on_recorded,
    EntityUnlockSent: Execution._on_recorded,
    ExecutionSuspended: Execution._on_suspended,
    ExecutionResumed: Execution._on_resumed,
    ExecutionTerminated: Execution._on_terminated,
}
"""Which method takes in which event. ExecutionCompleted and ExecutionRewound concern the instance, not the code."""

_NOT_HELD = (
    ExecutionStarted, ExecutionResumed, ExecutionSuspended, ExecutionTerminated, OrchestratorStarted,
    TaskScheduled, TimerCreated, SubOrchestrationInstanceCreated, EventSent,
    EntityOperationSignaled, EntityOperationCalled, EntityLockRequested, EntityUnlockSent,
)  # fmt: skip
"""What a suspended execution takes in at once; the rest waits for the resume."""


_IDENTITY: Mapping[type[Action], Callable[[Any], Any]] = {
    TaskScheduled: attrgetter("name"),
    TimerCreated: type,
    SubOrchestrationInstanceCreated: attrgetter("name", "instance_id"),
    EventSent: attrgetter("name", "instance_id"),
    EntityOperationSignaled: attrgetter("name", "instance_id"),
    EntityOperationCalled: attrgetter("name", "instance_id"),
    EntityLockRequested: attrgetter("entities"),
    EntityUnlockSent: attrgetter("lock_id"),
}
"""What tells for what an action asks; times and payloads may differ."""


def _is_same(recorded: Action, asked: Action) -> bool:
    """Whether both ask for the same."""
    identity = _IDENTITY[type(recorded)]
    return type(recorded) is type(asked) and identity(recorded) == identity(asked)


_DESCRIPTIONS: Mapping[type[Action], str] = {
    TaskScheduled: "activity {0.name!r} (#{0.task_id})",
    TimerCreated: "a timer (#{0.task_id})",
    SubOrchestrationInstanceCreated: "sub-orchestration {0.name!r} (#{0.task_id}, instance {0.instance_id!r})",
    EventSent: "event {0.name!r} to {0.instance_id!r} (#{0.task_id})",
    EntityOperationSignaled: "signal {0.name!r} to {0.instance_id} (#{0.task_id})",
    EntityOperationCalled: "call of {0.name!r} of {0.instance_id} (#{0.task_id})",
    EntityLockRequested: "the lock of {1} (#{0.task_id})",
    EntityUnlockSent: "the release of lock #{0.lock_id} (#{0.task_id})",
}


def _describe(action: Action) -> str:
    return _DESCRIPTIONS[type(action)].format(action, ", ".join(getattr(action, "entities", ())))


def _task_error(name: str, failure: FailureDetails) -> TaskFailedError:
    return TaskFailedError(
        name,
        failure.error_type,
        failure.message,
        failure.stack_trace,
        is_non_retriable=failure.is_non_retriable,
    )


def _not_a_task(value: Any) -> OrchestratorContractError:
    return OrchestratorContractError(
        f"An orchestrator may only yield or await durable tasks, but got {type(value).__qualname__}: {value!r:.100}. "
        "Put I/O and asyncio into an activity, and combine tasks with context.task_any or context.task_all."
    )


def _without_engine_frames(error: BaseException) -> BaseException:
    """Cut the frames of this file off the top of the traceback: the user's own code should come first."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return error.with_traceback(trace)
