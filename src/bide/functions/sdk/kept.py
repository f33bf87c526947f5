"""One execution of an orchestrator by the SDK's own executor, which stays in memory between turns.

On Azure the executor is made anew for every turn and gets the whole history. Here it gets each event once, when it happens
(replay is the same, from the engine's history), and what it has opened since is handed to the engine.
"""

from collections import deque
from datetime import datetime
from types import GeneratorType
from typing import Any

import msgspec

import bide
from bide.core.tasks import Task
from bide.core.tasks import TimerTask as EngineTimer
from bide.errors import TaskFailedError
from bide.functions.durable.payload import dumps, text_of
from bide.functions.sdk.calls import Call, Done, Ending, Pause, call_of, input_payload, input_text, payload
from bide.functions.sdk.events import Kind, make, wire
from bide.functions.sdk.package import load
from bide.functions.sdk.waits import Turn, open_waits, pair

_SCHEMA = 1
"""The replay schema in which every task has one action. The next one splits long timers; ours need no splitting."""
_SIGNAL = "SignalEntityAction"
_CONTINUE = "ContinueAsNewAction"
_ID_KEYS = {Kind.TIMER_FIRED: "TimerId", Kind.EVENT_RAISED: "Name"}


def make_context(engine: bide.OrchestrationContext, expected_type: Any = None) -> Any:
    """Make the SDK's context, from what the extension sends on the first turn."""
    now = engine.current_utc_datetime
    started = wire(Kind.EXECUTION_STARTED, now, Name=engine.name, Version=engine.version)
    context = load().context(
        history=[wire(Kind.ORCHESTRATOR_STARTED, now), started],
        instanceId=engine.instance_id,
        isReplaying=engine.is_replaying,
        parentInstanceId=engine.parent_instance_id,
        input=input_text(text_of(engine.get_input(msgspec.Raw))),
        upperSchemaVersion=_SCHEMA,
    )
    context._input_expected_type = expected_type
    return context


class KeptExecutor:
    """The SDK's executor and context on one side, the engine on the other."""

    def __init__(
        self, engine: bide.OrchestrationContext, context: Any, steps: "GeneratorType[Any, Any, Any] | None" = None
    ) -> None:
        """`steps` is the user's generator; without one there is only something to `act` on."""
        self._engine = engine
        self._context = context
        self._sdk = load().executor()
        self._sdk.context = context
        self._sdk.generator = steps
        self._sdk._is_processing_new_events = True  # so that an event is as old as it says
        self._sdk.current_task.is_played = engine.is_replaying
        self._running = load().running
        self._now: datetime = engine.current_utc_datetime
        self._turn: Turn | None = None
        self._timers: dict[int, tuple[Any, EngineTimer]] = {}
        self._next_id = 0
        self._seen_actions = 0
        self._sent: deque[Any] = deque()
        self._status: str | None = None
        self._broken: Exception | None = None

    @property
    def is_over(self) -> bool:
        return bool(self._sdk.has_execution_completed)

    @property
    def output(self) -> Any:
        return self._sdk.output

    def run(self) -> Turn | None:
        """Run the user's code as far as it goes; give what it waits for, None at its end. Raises what it raises."""
        while True:
            self._resume()
            if self.is_over:
                return None
            if self._sdk.current_task is None:
                raise TypeError("An orchestrator may only yield durable tasks, but got None.")
            if self._sdk.current_task.state is self._running:
                return self._block()

    def act(self) -> None:
        """Do what the code has asked for. Raises `TypeError` when its status is not JSON."""
        self._show_status()
        self._schedule()
        self._cancel_timers()

    # The SDK's code

    def _resume(self) -> None:
        if self._broken is not None:
            raise self._broken
        self._tell_time()
        self._sdk.resume_user_code()
        self.act()
        if self._sdk.exception is not None:
            raise self._sdk.exception

    def _block(self) -> Turn:
        for task in open_waits(self._sdk.current_task):
            if not hasattr(task, "bide_wait"):
                wait = self._engine.wait_for_external_event(task.id, msgspec.Raw)
                wait._parents.append(_Wait(self, task))
                pair(task, wait)
        waits = [task.bide_wait for task in open_waits(self._sdk.current_task)]
        self._turn = Turn(self._engine._execution, waits)
        return self._turn

    def _tell_time(self) -> None:
        now = self._engine.current_utc_datetime
        if now != self._now:
            self._now = now
            self._sdk.process_event(self._record(Kind.ORCHESTRATOR_STARTED))

    def tell(self, task_id: int | str, ending: Ending) -> None:
        """Give the SDK the event that ends an open task; the user's code does not run yet."""
        kind, fields = ending
        event = self._record(kind, **{_ID_KEYS.get(kind, "TaskScheduledId"): task_id}, **fields)
        self._sdk.set_task_value(event, *self._sdk.event_to_SetTaskValuePayload[kind])

    def _record(self, kind: Kind, **fields: Any) -> Any:
        engine = self._engine
        event = make(kind, engine.current_utc_datetime, is_played=engine.is_replaying, **fields)
        self._context.histories.append(event)
        return event

    def settle(self, part: "_Scheduled | _Wait", task: Task[Any]) -> None:
        """Take in that the engine's `task` is done."""
        try:
            part.tell(task)
            self._schedule()  # the next step of a retry
        except Exception as error:  # noqa: BLE001  (a result that cannot be read: on Azure, too, it ends the run)
            self._broken = error
        is_free = self._broken is not None or self._sdk.current_task.state is not self._running
        if is_free and self._turn is not None:
            self._turn.finish(task)

    def bring_forward(self, task: Any) -> None:
        """Make a wait the one of its name that the SDK gives the next event to: the last in its list."""
        waits = self._context.open_tasks[task.id]
        if waits[-1] is not task:
            waits.remove(task)
            waits.append(task)

    # What the code asks for

    def _schedule(self) -> None:
        """Hand over what has got a number since the last time, in the order of numbers."""
        context = self._context
        actions = context._action_payload_v2
        self._sent.extend(each for each in actions[self._seen_actions :] if type(each).__name__ in {_SIGNAL, _CONTINUE})
        self._seen_actions = len(actions)
        while self._next_id < context._sequence_number:
            task_id, self._next_id = self._next_id, self._next_id + 1
            task = context.open_tasks.get(task_id)
            if task is not None:
                self._begin(task_id, task)
            elif self._sent and self._send(self._sent.popleft()):
                self._next_id = context._sequence_number  # what comes after continue_as_new is dropped
        self._sent.clear()

    def _send(self, action: Any) -> bool:
        """Send a signal, or continue as new; whether it was the latter."""
        if type(action).__name__ == _CONTINUE:
            self._engine.continue_as_new(input_payload(action.input_))
            return True
        self._engine.signal_entity(action.instance_id, action.operation, input_payload(action.input_))
        return False

    def _begin(self, task_id: int, task: Any) -> None:
        call = call_of(task)
        if isinstance(call, Done):
            self.tell(task_id, call.ending(None, None))
            return
        try:
            begun = call.begin(self._engine)
        except Exception as refused:  # noqa: BLE001  (whatever it is, it is raised at the yield)
            self.tell(task_id, call.ending(None, refused))
            return
        begun._parents.append(_Scheduled(self, task_id, call, task))
        if isinstance(begun, EngineTimer) and not isinstance(call, Pause):
            self._timers[task_id] = (call.action, begun)

    def forget_timer(self, task_id: int) -> None:
        self._timers.pop(task_id, None)

    def _cancel_timers(self) -> None:
        for task_id, (action, timer) in list(self._timers.items()):
            if action.is_cancelled:
                del self._timers[task_id]
                timer.cancel()

    def _show_status(self) -> None:
        """Compare texts: the app may have changed the object that it gave before, and Azure would show that."""
        status = self._context.custom_status
        text = None if status is None else dumps(status)
        if text != self._status:
            self._status = text
            self._engine.set_custom_status(payload(text or "null"))


class _Scheduled:
    """Stands among the parents of an engine's task and tells the SDK how it ended."""

    __slots__ = ("_call", "_id", "_kept", "_task")

    def __init__(self, kept: KeptExecutor, task_id: int, call: Call, task: Any) -> None:
        self._kept = kept
        self._id = task_id
        self._call = call
        self._task = task

    def _child_done(self, child: Task[Any]) -> None:
        if not child.is_canceled:  # the SDK knows: it is the code that has cancelled it
            self._kept.settle(self, child)

    def tell(self, child: Task[Any]) -> None:
        error = child._error
        if isinstance(error, TaskFailedError) and error.is_non_retriable and hasattr(self._task.parent, "num_attempts"):
            self._task.parent.num_attempts = self._task.parent.retry_options.max_number_of_attempts
        self._kept.forget_timer(self._id)
        self._kept.tell(self._id, self._call.ending(child._value, error))


class _Wait:
    """Does the same for a wait for an event."""

    __slots__ = ("_kept", "_task")

    def __init__(self, kept: KeptExecutor, task: Any) -> None:
        self._kept = kept
        self._task = task

    def _child_done(self, child: Task[Any]) -> None:
        self._kept.settle(self, child)

    def tell(self, child: Task[Any]) -> None:
        self._kept.bring_forward(self._task)
        self._kept.tell(self._task.id, (Kind.EVENT_RAISED, {"Input": text_of(child._value)}))
