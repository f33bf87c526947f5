"""Every error that bide raises.

::

    BideError
    ├── InvalidInputError                 the caller sent something that can never work
    │   ├── PayloadNotSerializableError
    │   ├── PayloadTooLargeError
    │   ├── OrchestratorNotFoundError     no orchestrator of that name is registered
    │   ├── EntityNotFoundError           no entity of that name is registered
    │   └── InvalidIdError
    ├── InstanceError                     the instance is not in a state that allows it
    │   ├── InstanceNotFoundError
    │   ├── InstanceEndedError
    │   ├── InstanceExistsError
    │   └── InstanceStateError
    ├── OrchestrationError                raised inside an orchestrator, or about one
    │   ├── TaskFailedError               an activity, a sub-orchestration or an entity's operation failed
    │   ├── EventPayloadError             an event's data does not fit the type of the wait
    │   ├── NonDeterminismError           the code no longer does what its history says
    │   └── OrchestratorContractError     the code did something an orchestrator must not do
    ├── StoreError
    │   ├── StoreUnavailableError         not stored; safe to repeat with the same event id
    │   ├── LeaseLostError                another node owns the instance's partition now; not stored
    │   ├── StoreLockedError              another process owns the store
    │   ├── StoreCorruptError
    │   └── StoreVersionError             the store was written by another version of bide
    ├── HubClosedError
    ├── HubBusyError                      too many requests wait; nothing was stored, try again later
    ├── HubUnreachableError               the HTTP client found nobody at the address
    ├── UnauthorizedError                 the key is missing or wrong
    ├── RemoteError                       the hub answered with something unexpected
    └── ConfigurationError

What went wrong is in the attributes; the message is for people.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class BideError(Exception):
    """Base of every error that bide raises."""


class InvalidInputError(BideError, ValueError):
    """The caller sent something that can never work; repeating it will not help."""


class PayloadNotSerializableError(InvalidInputError):
    """A value cannot be written as JSON. Nothing was sent."""


class PayloadTooLargeError(InvalidInputError):
    """A payload is larger than the hub accepts. `size` and `limit` are bytes of JSON text."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} has {size:,} bytes of JSON, more than the limit of {limit:,}. "
            "Store it elsewhere and send a reference, or raise the hub's max_payload_bytes."
        )
        self.size = size
        self.limit = limit


class OrchestratorNotFoundError(InvalidInputError):
    """No orchestrator of that name is registered. `known` lists those that are."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(_not_registered("orchestrator", name, self.known))


class EntityNotFoundError(InvalidInputError):
    """No entity of that name is registered. `known` lists those that are."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(_not_registered("entity", name, self.known))


def _not_registered(kind: str, name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"No {kind} is named {name!r}.{hint} Registered: {', '.join(known) or 'none'}."


class InvalidIdError(InvalidInputError):
    """An instance id or event name that the rules do not allow."""


class InstanceError(BideError):
    """An operation does not fit the state of `instance_id`."""

    def __init__(self, message: str, instance_id: str) -> None:
        super().__init__(message)
        self.instance_id = instance_id


class InstanceNotFoundError(InstanceError):
    """No instance has this id."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"There is no instance {instance_id!r}.", instance_id)


class InstanceEndedError(InstanceError):
    """The instance has already ended, as `runtime_status` says."""

    def __init__(self, instance_id: str, runtime_status: str) -> None:
        super().__init__(f"Instance {instance_id!r} has already ended ({runtime_status}).", instance_id)
        self.runtime_status = runtime_status


class InstanceExistsError(InstanceError):
    """An instance with this id exists, and the id reuse policy does not let it be replaced."""

    def __init__(self, instance_id: str, runtime_status: str) -> None:
        super().__init__(
            f"Instance {instance_id!r} already exists ({runtime_status}). "
            "Choose another id, or say what to do with that one (id_reuse; --reuse keep, replace-any).",
            instance_id,
        )
        self.runtime_status = runtime_status


class InstanceStateError(InstanceError):
    """The operation needs another runtime status than the instance has."""

    def __init__(self, instance_id: str, runtime_status: str, operation: str, allowed: str) -> None:
        super().__init__(
            f"Cannot {operation} instance {instance_id!r}: it is {runtime_status}, and only {allowed} will do.",
            instance_id,
        )
        self.runtime_status = runtime_status


class OrchestrationError(BideError):
    """Raised inside an orchestrator, or about one."""


class TaskFailedError(OrchestrationError):
    """An activity, a sub-orchestration or an entity's operation failed.

    `error_type` is the class name of the original error, `stack_trace` its traceback as text, if known;
    `is_non_retriable` keeps retry policies from trying again.
    """

    def __init__(
        self,
        task_name: str,
        error_type: str,
        message: str,
        stack_trace: str | None = None,
        *,
        is_non_retriable: bool = False,
    ) -> None:
        super().__init__(f"{task_name} failed: {error_type}: {message}")
        self.task_name = task_name
        self.error_type = error_type
        self.message = message
        self.stack_trace = stack_trace
        self.is_non_retriable = is_non_retriable


class EventPayloadError(OrchestrationError, ValueError):
    """An event's data does not fit the type that the wait asked for.

    The event is consumed. `payload` is the JSON text as it was received.
    """

    def __init__(self, event_name: str, payload: str | None, reason: str) -> None:
        super().__init__(f"The data of event {event_name!r} does not fit: {reason}")
        self.event_name = event_name
        self.payload = payload
        self.reason = reason


class NonDeterminismError(OrchestrationError):
    """Replayed code asked for something else than the history holds.

    `expected` is what the history holds, `actual` what the code asked for, `location` where (file:line).
    """

    def __init__(self, instance_id: str, expected: str, actual: str, location: str | None) -> None:
        where = f" at {location}" if location else ""
        super().__init__(
            f"Orchestrator of {instance_id!r} is not deterministic{where}: "
            f"history holds {expected}, the code asked for {actual}. "
            "Put the old behaviour back (or make the new one depend on context.version), then rewind the instance."
        )
        self.instance_id = instance_id
        self.expected = expected
        self.actual = actual
        self.location = location


class OrchestratorContractError(OrchestrationError, TypeError):
    """The code did something an orchestrator must not do, such as yielding what is not a task."""


class StoreError(BideError):
    """Base of the store's errors."""


class StoreUnavailableError(StoreError):
    """The store could not write or read now: full disk, I/O error, lost connection.

    Nothing of the request was stored, or it is not known whether it was: repeat it with the same
    `event_id` or instance id and it takes effect once.
    """


class LeaseLostError(StoreError):
    """Another node has taken over a partition that this one held. Nothing was stored; repeat the request."""


class StoreLockedError(StoreError):
    """Another process owns the store."""


class StoreCorruptError(StoreError):
    """The store is damaged, or is not a bide store at all."""


class StoreVersionError(StoreError):
    """The store's schema is newer than this bide, or older and must be upgraded first."""


class HubClosedError(BideError):
    """The hub is not running (any more)."""


class HubBusyError(BideError):
    """Too many requests wait for the hub already. Nothing of this one was stored: try again a little later."""


class HubUnreachableError(BideError):
    """Nobody answers at the hub's address."""


class UnauthorizedError(BideError):
    """The hub wants a key, and none or a wrong one was sent."""


class RemoteError(BideError):
    """The hub answered with something the client does not expect. `status_code` is the HTTP status."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class ConfigurationError(BideError):
    """A setting, an option or an application file is wrong."""
