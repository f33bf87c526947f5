"""What an orchestrator sees: `OrchestrationContext`, with Durable Functions' names."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload
from uuid import UUID

from bide.core.locks import EntityLock
from bide.core.retry import RetryOptions, RetryTask
from bide.core.tasks import ActivityTask, EventTask, Task, TimerTask, WhenAllTask, WhenAnyTask
from bide.errors import InvalidIdError, InvalidInputError
from bide.model.clock import span_micros, time_micros, to_datetime
from bide.model.codec import decode_payload, encode_payload
from bide.model.entities import EntityId, as_entity_id
from bide.model.names import (
    check_event_name,
    check_instance_id,
    check_operation_name,
    check_text,
    registered_name,
)

if TYPE_CHECKING:
    from bide.core.execution import Execution

T = TypeVar("T")
D = TypeVar("D")


class _NoDefault:
    """Stands for "no default given", where None is a value."""

    def __repr__(self) -> str:
        return "…"


NO_DEFAULT = _NoDefault()


class OrchestrationContext:
    """The orchestrator's view of itself, and the only way in which it may act.

    Orchestrators run again from their history, so they must be deterministic: take time from `current_utc_datetime`,
    ids from `new_uuid`, and leave I/O, random numbers and waiting to activities, timers and events.
    Every method that returns a task acts at once; `yield` (or `await`) the task to get its result.
    """

    __slots__ = ("_custom_status", "_execution")

    def __init__(self, execution: "Execution") -> None:
        self._execution = execution
        self._custom_status: Any = None

    @property
    def instance_id(self) -> str:
        return self._execution.instance_id

    @property
    def parent_instance_id(self) -> str | None:
        """Id of the instance that started this one as a sub-orchestration, if any."""
        return self._execution.started.parent_instance_id

    @property
    def name(self) -> str:
        """Name of the orchestrator."""
        return self._execution.started.name

    @property
    def version(self) -> str | None:
        """The version that the instance was started with; it stays when the app's version changes."""
        return self._execution.started.version

    @property
    def tags(self) -> Mapping[str, str]:
        return self._execution.started.tags or {}

    @property
    def current_utc_datetime(self) -> datetime:
        """The time at which the current turn began; aware, UTC. Always use this one, not the machine's clock."""
        return to_datetime(self._execution.now)

    @property
    def is_replaying(self) -> bool:
        """Whether this code has run before, in an earlier turn: the moment not to log again."""
        return self._execution.is_replaying

    @overload
    def get_input(self) -> Any: ...
    @overload
    def get_input(self, type: type[T]) -> T: ...
    @overload
    def get_input(self, type: Any) -> Any: ...
    def get_input(self, type: Any = None) -> Any:  # noqa: A002
        """Return the input, converted to `type` if one is given.

        Raises `ValueError` (msgspec's or pydantic's) that says what does not fit.
        """
        return decode_payload(self._execution.started.input, type)

    def new_uuid(self) -> UUID:
        """Return a UUID that is the same in every replay (version 5, as in azure-functions-durable)."""
        return self._execution.new_uuid()

    @property
    def custom_status(self) -> Any:
        """What `set_custom_status` was last called with in this execution."""
        return self._custom_status

    def set_custom_status(self, status: Any) -> None:
        """Show `status` (any JSON value, also falsy ones) in the instance's status from this turn's commit on."""
        self._custom_status = status
        self._execution.set_custom_status(encode_payload(status, "The custom status"))

    @overload
    def wait_for_external_event(self, name: str) -> "EventTask[Any]": ...
    @overload
    def wait_for_external_event(
        self, name: str, type: type[T], *, timeout: timedelta | float | None = None
    ) -> "EventTask[T]": ...
    @overload
    def wait_for_external_event(
        self, name: str, type: type[T], *, timeout: timedelta | float, default: D
    ) -> "EventTask[T | D]": ...
    @overload
    def wait_for_external_event(
        self,
        name: str,
        type: Any = None,
        *,
        timeout: timedelta | float | None = None,
        default: Any = NO_DEFAULT,
    ) -> "EventTask[Any]": ...
    def wait_for_external_event(
        self,
        name: str,
        type: Any = None,  # noqa: A002
        *,
        timeout: timedelta | float | None = None,
        default: Any = NO_DEFAULT,
    ) -> "EventTask[Any]":
        """Wait for an external event; its data, converted to `type` if one is given, is the result.

        Names match without regard to case. Events that arrive early are kept, in order, until they are asked for. The wait
        takes an event only while the orchestrator is blocked on it, or looks at it; several waits for one name are
        served in the order in which they were made. It costs nothing while it lasts, and it may last for years.

        `timeout`, a span or seconds, is counted from this call by a durable timer. When it passes first, the result is
        `default`, or without one `TimeoutError` is raised at the yield.

        Raises, at the yield, `EventPayloadError` when the data does not fit `type`: the event is consumed.
        """
        check_event_name(name)
        if default is not NO_DEFAULT and timeout is None:
            raise InvalidInputError(f"The wait for {name!r} has a default but no timeout, so it could never be used.")
        micros = None if timeout is None else max(0, span_micros(timeout))
        return self._execution.wait_for_event(name, type, micros, default)

    def task_any(self, tasks: Iterable[Task[T]]) -> WhenAnyTask[T]:
        """Wait for the first of `tasks`; the result is that task, done or failed.

        The others stay as they are: timers should be cancelled if they are no longer wanted, waits take no event.
        Raises `ValueError` for no tasks at all.
        """
        children = self._checked(tasks)
        if not children:
            raise InvalidInputError("task_any needs at least one task: nothing could ever complete it.")
        return WhenAnyTask(self._execution, children)

    def task_all(self, tasks: Iterable[Task[T]]) -> WhenAllTask[T]:
        """Wait for all `tasks`; the result is the list of their results in this order.

        When one fails, its error is raised at once. No tasks give an empty list.
        """
        return WhenAllTask(self._execution, self._checked(tasks))

    def create_timer(self, fire_at: datetime | timedelta) -> TimerTask:
        """Wait until a time, or for a span; any length. A time in the past fires at once. Naive times count as UTC."""
        return self._execution.start_timer(self._time(fire_at))

    @overload
    def call_activity(
        self, activity: str | Callable[..., Any], input_: Any = None, *, retry: RetryOptions | None = None
    ) -> Task[Any]: ...
    @overload
    def call_activity(
        self,
        activity: str | Callable[..., Any],
        input_: Any = None,
        *,
        retry: RetryOptions | None = None,
        type: type[T],
    ) -> Task[T]: ...
    @overload
    def call_activity(
        self,
        activity: str | Callable[..., Any],
        input_: Any = None,
        *,
        retry: RetryOptions | None = None,
        type: Any,
    ) -> Task[Any]: ...
    def call_activity(
        self,
        activity: str | Callable[..., Any],
        input_: Any = None,
        *,
        retry: RetryOptions | None = None,
        type: Any = None,  # noqa: A002
    ) -> Task[Any]:
        """Run an activity, given by name or as the decorated function; its return value is the result.

        It runs at least once: again if the process dies before its result is stored. The result is converted to
        `type`, or to the return annotation when a function is given. With `retry` a failure is tried again.

        Raises `TaskFailedError` at the yield when the activity (its last attempt) raised.
        """
        name = registered_name(activity)
        into = type if type is not None else _return_type(activity)
        return self._retried(lambda: self._execution.schedule_activity(name, input_, into), retry)

    def call_activity_with_retry(
        self, activity: str | Callable[..., Any], retry_options: RetryOptions, input_: Any = None
    ) -> Task[Any]:
        """Do the same as `call_activity(…, retry=retry_options)`."""
        return self.call_activity(activity, input_, retry=retry_options)

    def call_sub_orchestrator(
        self,
        orchestrator: str | Callable[..., Any],
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        *,
        retry: RetryOptions | None = None,
        type: Any = None,  # noqa: A002
    ) -> Task[Any]:
        """Run another orchestrator as an instance of its own; what it returns is the result, converted to `type` if given.

        Its id is made from this execution's unless given. `version` defaults to the app's, not to this instance's.
        Raises `TaskFailedError` at the yield when it failed, was terminated, or could not be started.
        """
        name = registered_name(orchestrator)
        check_text(version, "The version")
        if instance_id is not None:
            check_instance_id(instance_id)
            if instance_id.casefold() in {
                self.instance_id.casefold(),
                (self.parent_instance_id or "").casefold(),
            }:
                raise InvalidIdError(f"A sub-orchestration cannot have the id {instance_id!r} of its caller.")
        return self._retried(lambda: self._execution.schedule_child(name, input_, type, instance_id, version), retry)

    def call_sub_orchestrator_with_retry(
        self,
        orchestrator: str | Callable[..., Any],
        retry_options: RetryOptions,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
    ) -> Task[Any]:
        """Do the same as `call_sub_orchestrator(…, retry=retry_options)`."""
        return self.call_sub_orchestrator(orchestrator, input_, instance_id, version, retry=retry_options)

    def send_event(self, instance_id: str, name: str, data: Any = None) -> None:
        """Raise an event to another instance, exactly once, with this turn's commit.

        Nothing comes back: an event to an unknown or ended instance becomes a dead letter.
        """
        check_instance_id(instance_id)
        check_event_name(name)
        self._execution.send_event(instance_id, name, data)

    @overload
    def call_entity(self, entity_id: EntityId | str, operation: str, input_: Any = None) -> Task[Any]: ...
    @overload
    def call_entity(
        self, entity_id: EntityId | str, operation: str, input_: Any = None, *, type: type[T]
    ) -> Task[T]: ...
    @overload
    def call_entity(self, entity_id: EntityId | str, operation: str, input_: Any = None, *, type: Any) -> Task[Any]: ...
    def call_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input_: Any = None,
        *,
        type: Any = None,  # noqa: A002
    ) -> Task[Any]:
        """Have an entity do an operation; what it returns, converted to `type` if one is given, is the result.

        An entity does one operation at a time, those of one orchestration in the order in which they were asked for. What
        it changes is changed exactly once.

        Raises `TaskFailedError` at the yield when the operation raised, or no entity of that name is registered.
        """
        target = str(as_entity_id(entity_id))
        return self._execution.call_entity(target, check_operation_name(operation), input_, type)

    def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input_: Any = None,
        *,
        scheduled_time: datetime | timedelta | None = None,
    ) -> None:
        """Have an entity do an operation, at a time or after a span if one is given, and do not wait for it.

        It is sent exactly once, with this turn's commit. Nothing comes back: a signal to an entity that nobody
        registered becomes a dead letter.
        """
        at = None if scheduled_time is None else self._time(scheduled_time)
        self._execution.signal_entity(str(as_entity_id(entity_id)), check_operation_name(operation), input_, at)

    def lock_entities(self, entity_ids: Iterable[EntityId | str]) -> Task[EntityLock]:
        """Lock entities: until the lock is released they do operations of this orchestration only.

        ::

            with (yield context.lock_entities([source, target])):
                balance = yield context.call_entity(source, "balance")

        They are locked one after the other in order of their ids, so two orchestrations never wait for each other. The
        lock ends with the block, and with the orchestration, however it ends. Inside, only locked entities can be called,
        one call at a time each; only others can be signalled; there is no further lock and no sub-orchestration:
        `OrchestratorContractError`.
        """
        entities = tuple(sorted({str(as_entity_id(each)) for each in entity_ids}))
        if not entities:
            raise InvalidInputError("lock_entities needs at least one entity.")
        return self._execution.lock_entities(entities)

    def continue_as_new(
        self, input_: Any = None, *, preserve_unprocessed_events: bool = True, version: str | None = None
    ) -> None:
        """Start over with a new input and an empty history, when the orchestrator returns: return right after it.

        Events that were not consumed are carried over, in the order in which they arrived, unless
        `preserve_unprocessed_events` is False: then they become dead letters. Custom status, tags and parent stay;
        open timers end, and results of activities that still run are dropped.
        """
        check_text(version, "The version")
        self._execution.continue_as_new(input_, preserve_events=preserve_unprocessed_events, version=version)

    def _time(self, value: datetime | timedelta) -> int:
        return time_micros(value, self._execution.now)

    def _retried(self, begin: Callable[[], ActivityTask[Any]], retry: RetryOptions | None) -> Task[Any]:
        return begin() if retry is None else RetryTask(self._execution, begin, retry)

    def _checked(self, tasks: Iterable[Task[T]]) -> list[Task[T]]:
        children = list(tasks)
        for child in children:
            if not isinstance(child, Task):
                raise InvalidInputError(
                    f"Only tasks can be combined, but got {type(child).__qualname__}: {child!r:.100}"
                )
        return children


@lru_cache(maxsize=4096)
def _return_type(function: str | Callable[..., Any]) -> Any:
    """Result type that a function declares; None when there is none, or when it cannot be told."""
    if isinstance(function, str):
        return None
    try:
        return cast("Any", inspect.get_annotations(inspect.unwrap(function), eval_str=True).get("return"))
    except (NameError, TypeError, AttributeError, SyntaxError):
        return None
