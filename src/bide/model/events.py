"""History events: what happened to an instance, in the words of the Durable Task protocol.

An instance's history is a list of turns; each turn is one encoded list of events. Tags are the
`EventType` numbers of DurableTask.Core, so that a stored history can be told by anybody who knows those; from 30 on
they are ours: what orchestrations do with entities (30 to 36), and what happens to an entity (40 on).
Events carry no time stamp of their own, except where it may differ from their turn's: a turn's time is
that of its `OrchestratorStarted`, or of its row in the store.

Payloads (`input`, `result`) are JSON text exactly as it was received; `None` is "no data".
New fields go to the end and need a default: stored events are arrays.
"""

import msgspec

from bide.model.entities import EntityRequest, LockRequest, OperationRequest, TaskAddress
from bide.model.failure import FailureDetails


class HistoryEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all history events."""

    @property
    def event_type(self) -> str:
        """Name of the event as the protocol and the HTTP API spell it."""
        return type(self).__name__


class ExecutionStarted(HistoryEvent, frozen=True, tag=0, gc=False):
    """A generation of the instance begins. First event of every history."""

    name: str
    execution_id: str
    input: str | None = None
    version: str | None = None
    parent_instance_id: str | None = None
    parent_task_id: int | None = None
    parent_execution_id: str | None = None
    generation: int = 0
    tags: dict[str, str] | None = None


class ExecutionCompleted(HistoryEvent, frozen=True, tag=1):
    """The orchestrator returned or failed; the result is kept in the instance's row."""

    status: int
    failure: FailureDetails | None = None


class ExecutionTerminated(HistoryEvent, frozen=True, tag=3, gc=False):
    reason: str | None = None


class TaskScheduled(HistoryEvent, frozen=True, tag=4, gc=False):
    task_id: int
    name: str
    input: str | None = None


class TaskCompleted(HistoryEvent, frozen=True, tag=5, gc=False):
    task_id: int
    result: str | None = None


class TaskFailed(HistoryEvent, frozen=True, tag=6):
    task_id: int
    failure: FailureDetails


class SubOrchestrationInstanceCreated(HistoryEvent, frozen=True, tag=7, gc=False):
    task_id: int
    name: str
    instance_id: str
    input: str | None = None
    version: str | None = None


class SubOrchestrationInstanceCompleted(HistoryEvent, frozen=True, tag=8, gc=False):
    task_id: int
    result: str | None = None


class SubOrchestrationInstanceFailed(HistoryEvent, frozen=True, tag=9):
    task_id: int
    failure: FailureDetails


class TimerCreated(HistoryEvent, frozen=True, tag=10, gc=False):
    task_id: int
    fire_at: int


class TimerFired(HistoryEvent, frozen=True, tag=11, gc=False):
    task_id: int


class OrchestratorStarted(HistoryEvent, frozen=True, tag=12, gc=False):
    """A turn begins: user code runs after it, and sees `timestamp` as the current time."""

    timestamp: int


class EventSent(HistoryEvent, frozen=True, tag=14, gc=False):
    """The orchestrator raised an event to another instance."""

    task_id: int
    instance_id: str
    name: str
    input: str | None = None


class EventRaised(HistoryEvent, frozen=True, tag=15, gc=False):
    """An external event arrived, at `timestamp`; the name is spelt as the sender spelt it."""

    name: str
    input: str | None
    timestamp: int
    event_id: str | None = None


class ExecutionSuspended(HistoryEvent, frozen=True, tag=19, gc=False):
    reason: str | None = None


class ExecutionResumed(HistoryEvent, frozen=True, tag=20, gc=False):
    reason: str | None = None


class ExecutionRewound(HistoryEvent, frozen=True, tag=21, gc=False):
    """The failed run was taken up again.

    The end of the run, the failures of `task_ids` and the scheduling of those that are activities count as
    not having happened; they stay in the history to be seen.
    """

    reason: str | None = None
    task_ids: tuple[int, ...] = ()


class EntityOperationSignaled(HistoryEvent, frozen=True, tag=30, gc=False):
    """The orchestrator sent a signal to an entity, to be done at `scheduled_at` or at once."""

    task_id: int
    instance_id: str
    name: str
    input: str | None = None
    scheduled_at: int | None = None


class EntityOperationCalled(HistoryEvent, frozen=True, tag=31, gc=False):
    """The orchestrator called an entity's operation and wants its result."""

    task_id: int
    instance_id: str
    name: str
    input: str | None = None


class EntityOperationCompleted(HistoryEvent, frozen=True, tag=32, gc=False):
    task_id: int
    result: str | None = None


class EntityOperationFailed(HistoryEvent, frozen=True, tag=33):
    """A called operation failed, or a lock could not be had."""

    task_id: int
    failure: FailureDetails


class EntityLockRequested(HistoryEvent, frozen=True, tag=34, gc=False):
    """The orchestrator asked for the locks of `entities`, which are in order and all different."""

    task_id: int
    entities: tuple[str, ...]


class EntityLockGranted(HistoryEvent, frozen=True, tag=35, gc=False):
    task_id: int


class EntityUnlockSent(HistoryEvent, frozen=True, tag=36, gc=False):
    """The orchestrator gave back the locks that it had asked for as task `lock_id`."""

    task_id: int
    lock_id: int


class EntityStarted(HistoryEvent, frozen=True, tag=40, gc=False):
    """All that an entity has to do. First event of its history, which begins anew when most of it is done.

    `delayed` are signals with the time at which they are due, `running` the operations of batch number `batches`, which
    was put together at `batch_at`.
    """

    lock: LockRequest | None = None
    queue: tuple[EntityRequest, ...] = ()
    delayed: tuple[tuple[int, OperationRequest], ...] = ()
    running: tuple[OperationRequest, ...] = ()
    batches: int = 0
    batch_at: int = 0


class EntityRequested(HistoryEvent, frozen=True, tag=41, gc=False):
    """A request came in, to be done at `scheduled_at` or in its turn."""

    request: EntityRequest
    scheduled_at: int | None = None


class EntitySignalsDue(HistoryEvent, frozen=True, tag=42, gc=False):
    """The delayed signals that were due at `timestamp` joined the queue."""

    timestamp: int


class EntityLocked(HistoryEvent, frozen=True, tag=43, gc=False):
    """The lock request at the front of the queue got the lock."""


class EntityUnlocked(HistoryEvent, frozen=True, tag=44, gc=False):
    """The lock of `owner` ended, or its request was withdrawn."""

    owner: TaskAddress


class EntityBatchStarted(HistoryEvent, frozen=True, tag=45, gc=False):
    """The next `size` operations that may run were taken from the queue, at `timestamp`, to be run together."""

    size: int
    timestamp: int


class EntityBatchCompleted(HistoryEvent, frozen=True, tag=46, gc=False):
    """The operations that ran are done; the state is in the entity's row."""


AnyEvent = (
    ExecutionStarted
    | ExecutionCompleted
    | ExecutionTerminated
    | TaskScheduled
    | TaskCompleted
    | TaskFailed
    | SubOrchestrationInstanceCreated
    | SubOrchestrationInstanceCompleted
    | SubOrchestrationInstanceFailed
    | TimerCreated
    | TimerFired
    | OrchestratorStarted
    | EventSent
    | EventRaised
    | ExecutionSuspended
    | ExecutionResumed
    | ExecutionRewound
    | EntityOperationSignaled
    | EntityOperationCalled
    | EntityOperationCompleted
    | EntityOperationFailed
    | EntityLockRequested
    | EntityLockGranted
    | EntityUnlockSent
    | EntityStarted
    | EntityRequested
    | EntitySignalsDue
    | EntityLocked
    | EntityUnlocked
    | EntityBatchStarted
    | EntityBatchCompleted
)
"""What an encoded turn may hold."""
