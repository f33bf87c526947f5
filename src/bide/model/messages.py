"""What can be said to an instance or an entity.

A message that one instance sends to another may be stored, so all are Structs.
"""

from enum import IntEnum

import msgspec

from bide.model.codec import UNREADABLE
from bide.model.entities import EntityBatchResult, EntityRequest, TaskAddress
from bide.model.failure import FailureDetails
from bide.model.instance import IdReusePolicy


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Base of all messages; `instance_id` is whom it is for.

    `iid` binds one to the instance that had this id at some time; 0: whoever has it. `reply_to` is the node that wants
    the answer, and its number for the request.
    """

    instance_id: str
    iid: int = 0
    reply_to: tuple[int, int] | None = None


class StartInstance(Message, frozen=True, kw_only=True):
    """Start an orchestration. `is_new_id`: the id was made just now, so nothing can be stored under it."""

    name: str
    execution_id: str
    input: str | None = None
    start_at: int | None = None
    reuse: IdReusePolicy = IdReusePolicy.REPLACE_ENDED
    version: str | None = None
    tags: dict[str, str] | None = None
    parent_instance_id: str | None = None
    parent_task_id: int | None = None
    parent_execution_id: str | None = None
    is_new_id: bool = False


class RaiseEvent(Message, frozen=True, kw_only=True):
    name: str
    input: str | None = None
    event_id: str | None = None


class Terminate(Message, frozen=True, kw_only=True):
    reason: str | None = None
    recursive: bool = False


class Suspend(Message, frozen=True, kw_only=True):
    reason: str | None = None


class Resume(Message, frozen=True, kw_only=True):
    reason: str | None = None


class Rewind(Message, frozen=True, kw_only=True):
    reason: str | None = None


class TakeUp(Message, frozen=True, kw_only=True):
    """A rewound parent takes up its child: `start` is how it would be started anew."""

    start: StartInstance


class Purge(Message, frozen=True, kw_only=True):
    """Remove the instance; one that has not ended only with `force`."""

    force: bool = False


class TaskKind(IntEnum):
    """What an orchestration waits for besides events and timers."""

    ACTIVITY = 0
    CHILD = 1
    CALL = 2
    """An entity's operation."""
    LOCK = 3


class TaskDone(Message, frozen=True, kw_only=True):
    """A task has ended, with a result or a failure.

    Dropped when `execution_id` is not the current one: the task belonged to an earlier generation. `entities` are
    those of a lock: when nobody wants the lock any more, they are unlocked.
    """

    execution_id: str
    task_id: int
    result: str | None = None
    failure: FailureDetails | None = None
    kind: TaskKind = TaskKind.ACTIVITY
    entities: tuple[str, ...] = ()


class TimersDue(Message, frozen=True, kw_only=True):
    """The clock has reached the instance's next timer."""


class Begin(Message, frozen=True, kw_only=True):
    """Run the first turn of the generation that continue_as_new made."""

    execution_id: str


class AwaitEnd(Message, frozen=True, kw_only=True):
    """Another node wants to hear when the instance has ended."""


class RequestEntity(Message, frozen=True, kw_only=True):
    """Ask an entity for an operation, not before `scheduled_at` if that is given, or for its lock."""

    request: EntityRequest
    scheduled_at: int | None = None


class UnlockEntity(Message, frozen=True, kw_only=True):
    """Give back the lock that `owner` holds, or has asked for."""

    owner: TaskAddress


class EntityBatchDone(Message, frozen=True, kw_only=True):
    """A batch of operations has been run. Dropped unless it is the one that the entity waits for."""

    execution_id: str
    task_id: int
    result: EntityBatchResult


AnyMessage = (
    StartInstance
    | RaiseEvent
    | Terminate
    | Suspend
    | Resume
    | Rewind
    | TakeUp
    | Purge
    | TaskDone
    | TimersDue
    | Begin
    | AwaitEnd
    | RequestEntity
    | UnlockEntity
    | EntityBatchDone
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode_message(message: AnyMessage) -> bytes:
    return _encoder.encode(message)


def decode_message(data: bytes) -> AnyMessage:
    """Raise `msgspec.DecodeError` when `data` is not a message."""
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise msgspec.DecodeError(str(error)) from error
