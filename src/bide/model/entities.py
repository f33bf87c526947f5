"""What is said about entities: their ids, what is asked of them, and what a batch of operations comes to.

`EntityBatch` and `EntityBatchResult` have the shape of the Durable Task protocol's messages of these names: whoever can run
the one and give the other may run an entity's code. Inputs, results and states are JSON text, times microseconds.
"""

from typing import TypeAlias

import msgspec

from bide.errors import InvalidIdError
from bide.model.failure import FailureDetails
from bide.model.names import check_id_text

ENTITY_MARK = "@"
"""Ids of entities begin with it, those of orchestrations never do."""


class EntityId(msgspec.Struct, frozen=True, order=True, gc=False):
    """Which entity: a name, the same in any case, and a key, in which case counts. As text it is `@name@key`.

    Raises `InvalidIdError` when one of them is empty, the name has an `@`, or the id breaks the rules of instance ids.
    """

    name: str
    key: str

    def __post_init__(self) -> None:
        name = self.name.casefold()
        if not name or ENTITY_MARK in name or not self.key:
            raise InvalidIdError(
                f"An entity id needs a name without '@' and a key, not {self.name!r} and {self.key!r}."
            )
        if self.key == "$":
            raise InvalidIdError("The key '$' stands for an empty key in the HTTP API, and a key may not be empty.")
        check_id_text(f"@{name}@{self.key}", "An entity id")
        msgspec.structs.force_setattr(self, "name", name)

    def __str__(self) -> str:
        return f"@{self.name}@{self.key}"

    @classmethod
    def parse(cls, text: str) -> "EntityId":
        """Read `@name@key`; the key may have an `@`. Raises `InvalidIdError` for anything else."""
        if not isinstance(text, str) or not text.startswith(ENTITY_MARK):
            raise InvalidIdError(f"{text!r} is not an entity id: write @name@key, or EntityId(name, key).")
        name, _, key = text[1:].partition(ENTITY_MARK)
        return cls(name, key)


def as_entity_id(entity_id: EntityId | str) -> EntityId:
    """Read an entity id given as such or as text. Raises `InvalidIdError`."""
    return entity_id if isinstance(entity_id, EntityId) else EntityId.parse(entity_id)


class TaskAddress(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A task of one generation of an orchestration: who is to be answered, or who holds a lock."""

    instance_id: str
    execution_id: str
    task_id: int

    def as_id(self) -> str:
        """An id for what the task asks for, that nothing else has."""
        return f"{self.execution_id}:{self.task_id}"


class OperationRequest(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """An operation that an entity is to do. Without `caller` it is a signal: nobody is told the result."""

    id: str
    name: str
    input: str | None = None
    caller: TaskAddress | None = None

    def is_from(self, owner: TaskAddress) -> bool:
        """Whether the orchestration that owns a lock asks for it."""
        caller = self.caller
        return caller is not None and (caller.instance_id, caller.execution_id) == (
            owner.instance_id,
            owner.execution_id,
        )


class LockRequest(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """Locks that are taken one after the other: `entities` are ids in order, `position` says whose turn it is."""

    owner: TaskAddress
    entities: tuple[str, ...]
    position: int = 0


EntityRequest: TypeAlias = OperationRequest | LockRequest


class SignalAction(msgspec.Struct, frozen=True, tag=True, gc=False):
    """An operation sends a signal to an entity, now or at a time."""

    id: str
    entity_id: str
    name: str
    input: str | None = None
    scheduled_at: int | None = None


class StartAction(msgspec.Struct, frozen=True, tag=True, gc=False):
    """An operation starts an orchestration."""

    id: str
    name: str
    instance_id: str
    input: str | None = None


class OperationResult(msgspec.Struct, frozen=True, gc=False):
    """What an operation returned, or how it failed."""

    result: str | None = None
    failure: FailureDetails | None = None


class EntityBatch(msgspec.Struct, frozen=True):
    """Operations to be done one after the other on a state; `state` None: there is none.

    `task_id` counts the batches of an entity, `timestamp` is when the batch was put together; both are the same when it is
    run again after a crash.
    """

    entity_id: str
    execution_id: str
    task_id: int
    timestamp: int
    state: str | None
    operations: tuple[OperationRequest, ...]


class EntityBatchResult(msgspec.Struct, frozen=True):
    """What a batch comes to: the state after it, a result for each operation in order, and what they sent."""

    state: str | None
    results: tuple[OperationResult, ...]
    actions: tuple[SignalAction | StartAction, ...] = ()


class EntitySummary(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What is shown of an entity besides its state, as JSON in its row's `custom_status`.

    `locked_by` is the orchestration that holds its lock; `backlog` counts the requests that are not done.
    """

    locked_by: str | None = None
    backlog: int = 0
