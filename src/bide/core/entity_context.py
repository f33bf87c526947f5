"""What an operation of an entity sees: `EntityContext`, with Durable Functions' names."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from bide.errors import OrchestratorNotFoundError
from bide.model.clock import time_micros
from bide.model.codec import decode_payload, encode_payload
from bide.model.entities import EntityId, OperationRequest, SignalAction, StartAction, as_entity_id
from bide.model.names import check_instance_id, check_operation_name, registered_name

if TYPE_CHECKING:
    from bide.core.batch import BatchRun

T = TypeVar("T")


class EntityContext:
    """An operation's view of its entity.

    An operation may do I/O and block, but for how long nobody else gets to the entity. What it does to the state, and
    whom it signals, becomes true in one commit, exactly once; its code may run again if the process dies before.
    """

    __slots__ = ("_operation", "_run", "has_result", "result_text")

    def __init__(self, run: "BatchRun", operation: OperationRequest) -> None:
        self._run = run
        self._operation = operation
        self.has_result = False
        self.result_text: str | None = None

    @property
    def entity_id(self) -> EntityId:
        return self._run.entity_id

    @property
    def entity_name(self) -> str:
        return self._run.entity_id.name

    @property
    def entity_key(self) -> str:
        return self._run.entity_id.key

    @property
    def operation_name(self) -> str:
        return self._operation.name

    @property
    def has_input(self) -> bool:
        """Whether the operation was given any input."""
        return self._operation.input is not None

    @property
    def is_newly_constructed(self) -> bool:
        """Whether the entity has no state: it is new, or was deleted."""
        return self._run.state is None

    @overload
    def get_state(self, initializer: Callable[[], T], type: Any = None) -> T: ...
    @overload
    def get_state(self, initializer: None = None, *, type: type[T]) -> T | None: ...
    @overload
    def get_state(self, initializer: Callable[[], Any] | None = None, type: Any = None) -> Any: ...
    def get_state(self, initializer: Callable[[], Any] | None = None, type: Any = None) -> Any:  # noqa: A002
        """Return the state, converted to `type` if one is given; without one what `initializer` gives, or None.

        What it returns is a copy: `set_state` changes the state. Raises `ValueError` when it does not fit `type`.
        """
        if self._run.state is None:
            return initializer() if initializer is not None else None
        return decode_payload(self._run.state, type)

    def set_state(self, state: Any) -> None:
        """Set the state; None removes it. It counts when the operation succeeds.

        Raises `PayloadNotSerializableError` and `PayloadTooLargeError`.
        """
        self._run.state = encode_payload(state, f"The state of {self.entity_id}", self._run.limit)

    @overload
    def get_input(self) -> Any: ...
    @overload
    def get_input(self, type: type[T]) -> T: ...
    @overload
    def get_input(self, type: Any) -> Any: ...
    def get_input(self, type: Any = None) -> Any:  # noqa: A002
        """Return the input, converted to `type` if one is given. Raises `ValueError` when it does not fit."""
        return decode_payload(self._operation.input, type)

    def set_result(self, result: Any) -> None:
        """Set the result, which goes before what the operation returns.

        Raises `PayloadNotSerializableError` and `PayloadTooLargeError`.
        """
        what = f"The result of operation {self.operation_name!r} of {self.entity_id}"
        self.result_text = encode_payload(result, what, self._run.limit)
        self.has_result = True

    def destruct_on_exit(self) -> None:
        """Remove the state when the operation has succeeded, whatever else it sets."""
        self._run.is_destructed = True

    def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input_: Any = None,
        *,
        scheduled_time: datetime | timedelta | None = None,
    ) -> None:
        """Have an entity, also this one, do an operation: after this one, or at a time, or after a span.

        Nothing comes back: a signal to an entity that nobody registered becomes a dead letter.
        """
        at = None if scheduled_time is None else time_micros(scheduled_time, self._run.timestamp)
        text = encode_payload(input_, f"The input of operation {operation!r}", self._run.limit)
        name = check_operation_name(operation)
        self._run.actions.append(SignalAction(self._run.new_id(), str(as_entity_id(entity_id)), name, text, at))

    def start_new(
        self, orchestrator: str | Callable[..., Any], input_: Any = None, instance_id: str | None = None
    ) -> str:
        """Start an orchestration when the operation has succeeded; return its id.

        With an id that is in use nothing is started. Raises `OrchestratorNotFoundError`, `InvalidIdError`.
        """
        name = registered_name(orchestrator)
        if name not in self._run.orchestrators:
            raise OrchestratorNotFoundError(name, self._run.orchestrators)
        text = encode_payload(input_, "The input", self._run.limit)
        new_id = self._run.new_id()
        action = StartAction(new_id, name, new_id if instance_id is None else check_instance_id(instance_id), text)
        self._run.actions.append(action)
        return action.instance_id
