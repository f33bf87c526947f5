"""`DurableOrchestrationContext`: what an orchestrator of a Functions app sees, over bide's own context."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

import bide
from bide.core.tasks import Task as EngineTask
from bide.errors import TaskFailedError
from bide.functions.durable import http as durable_http
from bide.functions.durable.entity_id import EntityId
from bide.functions.durable.payload import loads, loads_input, raw, raw_input, text_of
from bide.functions.durable.retry import engine_options
from bide.functions.durable.tasks import AtomicTask, TaskBase, TimerTask, WhenAllTask, WhenAnyTask


class DurableOrchestrationContext:
    """The members of SDK 1.x and 2.x together.

    With 1.x rules a task is scheduled when it is yielded, with 2.x rules when it is called for.
    """

    def __init__(self, engine: bide.OrchestrationContext, *, is_v1: bool) -> None:
        self._engine = engine
        self._is_v1 = is_v1
        self._time: datetime | None = None
        self._guids = 0
        self._will_continue_as_new = False
        self.function_context = FunctionContext()

    # Who and when

    @property
    def instance_id(self) -> str:
        return self._engine.instance_id

    @property
    def parent_instance_id(self) -> str | None:
        return self._engine.parent_instance_id

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def version(self) -> str | None:
        return self._engine.version

    @property
    def is_replaying(self) -> bool:
        """Whether this code ran before. An instance stays in memory between turns, so it seldom did."""
        return self._engine.is_replaying

    @property
    def current_utc_datetime(self) -> datetime:
        return self._time or self._engine.current_utc_datetime

    @current_utc_datetime.setter
    def current_utc_datetime(self, value: datetime) -> None:
        self._time = value

    def new_uuid(self) -> str:
        self._guids += 1
        return str(self._engine.new_uuid())

    def new_guid(self) -> UUID:
        """Make a UUID as SDK 1.x does; `new_uuid` makes another kind."""
        number, self._guids = self._guids, self._guids + 1
        self._engine.new_uuid()  # both draw from one count
        return uuid5(NAMESPACE_URL, f"{self.instance_id}_{self.current_utc_datetime}_{number}")

    # Input, status

    @property
    def _input(self) -> str | None:
        """The input as JSON text; private in the SDK, and used by apps all the same."""
        text = self._text
        inner = loads(text) if self._is_v1 else None
        return inner if isinstance(inner, str) else text

    @property
    def _text(self) -> str | None:
        return text_of(self._engine.get_input(msgspec.Raw))

    def get_input(self, expected_type: Any = None) -> Any:
        """Return the input. With 1.x rules the second layer of JSON that its client adds is taken off."""
        return loads_input(self._text, expected_type, is_v1=self._is_v1)

    @property
    def custom_status(self) -> Any:
        return self._engine.custom_status

    def set_custom_status(self, status: Any) -> None:
        self._engine.set_custom_status(status)

    @property
    def histories(self) -> Any:
        raise NotImplementedError(
            "The history is not handed to orchestrators; ask a client for it (show_history=True)."
        )

    # Tasks

    def call_activity(self, name: Any, input_: Any = None, expected_type: Any = None) -> TaskBase:
        return self._activity(name, input_, None, expected_type)

    def call_activity_with_retry(
        self, name: Any, retry_options: Any, input_: Any = None, expected_type: Any = None
    ) -> TaskBase:
        return self._activity(name, input_, retry_options, expected_type)

    def call_sub_orchestrator(
        self,
        name: Any,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> TaskBase:
        return self._child(name, input_, instance_id, version, None, expected_type)

    def call_sub_orchestrator_with_retry(
        self,
        name: Any,
        retry_options: Any,
        input_: Any = None,
        instance_id: str | None = None,
        version: str | None = None,
        expected_type: Any = None,
    ) -> TaskBase:
        return self._child(name, input_, instance_id, version, retry_options, expected_type)

    def wait_for_external_event(self, name: str, expected_type: Any = None) -> TaskBase:
        if not name:
            raise ValueError("External event name cannot be empty.")
        return self._planned(
            AtomicTask(lambda: self._engine.wait_for_external_event(name, msgspec.Raw), str, expected_type)
        )

    def create_timer(self, fire_at: datetime | timedelta) -> TimerTask:
        task = TimerTask(lambda: self._engine.create_timer(fire_at))
        self._planned(task)
        return task

    def task_all(self, activities: Sequence[TaskBase]) -> WhenAllTask:
        task = WhenAllTask(activities, self._engine.task_all)
        self._planned(task)
        return task

    def task_any(self, activities: Sequence[TaskBase]) -> WhenAnyTask:
        combine: Callable[[list[EngineTask[Any]]], EngineTask[Any]] = (
            self._engine.task_any if activities else self._engine.task_all  # of nothing: done at once
        )
        task = WhenAnyTask(activities, combine)
        self._planned(task)
        return task

    def call_http(
        self,
        method: str,
        uri: str,
        content: Any = None,
        headers: dict[str, str] | None = None,
        token_source: Any = None,
        is_raw_str: bool = False,  # noqa: FBT001, FBT002  (the SDK's signature)
    ) -> TaskBase:
        """Send a request and poll on 202, outside of this code; the result is a `DurableHttpResponse`.

        A status outside of 2xx is a result like any other. Raises, at the yield, when nobody answers.
        """
        request = durable_http.request(method, uri, content, headers, token_source, is_raw_str=is_raw_str)
        return self._planned(
            durable_http.HttpTask(lambda: self._engine.call_sub_orchestrator(durable_http.ORCHESTRATOR, request))
        )

    # Entities

    def call_entity(
        self,
        entityId: EntityId,  # noqa: N803  (the SDK's names)
        operationName: str,  # noqa: N803
        operationInput: Any = None,  # noqa: N803
        expected_type: Any = None,
    ) -> TaskBase:
        text = raw_input(operationInput, is_v1=self._is_v1)
        return self._planned(
            AtomicTask(
                lambda: self._engine.call_entity(str(entityId), operationName, text, type=msgspec.Raw),
                lambda error: error.message,
                expected_type,
            )
        )

    def signal_entity(
        self,
        entityId: EntityId,  # noqa: N803
        operationName: str,  # noqa: N803
        operationInput: Any = None,  # noqa: N803
    ) -> TaskBase:
        """Signal an entity, at once. The task that comes back is done; SDK 1.x apps may yield it."""
        text = raw_input(operationInput, is_v1=self._is_v1)
        self._engine.signal_entity(str(entityId), operationName, text)
        return TaskBase(lambda: self._engine.task_all([]))

    def continue_as_new(self, input_: Any) -> None:
        """Start over with a new input; the code ends at its next `yield` or `return`."""
        self._engine.continue_as_new(raw_input(input_, is_v1=self._is_v1))
        self._will_continue_as_new = True

    @property
    def will_continue_as_new(self) -> bool:
        return self._will_continue_as_new

    # Plans

    def _planned(self, task: TaskBase) -> TaskBase:
        if not self._is_v1:
            task.begin()
        return task

    def _activity(self, name: Any, input_: Any, retry: Any, expected_type: Any) -> TaskBase:
        called, text = name_of(name), raw(input_)
        options = None if retry is None else engine_options(retry)
        return self._planned(
            AtomicTask(
                lambda: self._engine.call_activity(called, text, retry=options, type=msgspec.Raw),
                lambda error: f"Activity function '{called}' failed:  {_kind(error)}: {error.message}",
                expected_type,
            )
        )

    def _child(
        self, name: Any, input_: Any, instance_id: str | None, version: str | None, retry: Any, expected_type: Any
    ) -> TaskBase:
        called, text = name_of(name), raw_input(input_, is_v1=self._is_v1)
        options = None if retry is None else engine_options(retry)
        return self._planned(
            AtomicTask(
                lambda: self._engine.call_sub_orchestrator(
                    called, text, instance_id, version, retry=options, type=msgspec.Raw
                ),
                lambda error: error.message,
                expected_type,
            )
        )


class FunctionContext:
    """Exists because SDK 1.x has it; it is empty there too."""


def name_of(function: Any) -> str:
    """Return the durable name of a function given by name or as the decorated function."""
    if isinstance(function, str):
        return function
    builder = getattr(function, "_function", None)
    if builder is not None:
        trigger = builder.get_trigger()
        for key in ("activity", "orchestration", "entity_name"):
            if getattr(trigger, key, None):
                return str(getattr(trigger, key))
        return str(builder.get_function_name())
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(f"{function!r} is neither a name nor a decorated function.")
    return name


def _kind(error: TaskFailedError) -> str:
    return error.error_type.rpartition(".")[2]
