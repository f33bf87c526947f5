"""History events: what happened to an instance, in the words of the Durable Task protocol.

An instance's history is a list of turns; each turn is one encoded list of events. Tags are the
`EventType` numbers of DurableTask.Core, so that a stored history can be told by anybody who knows those.
Events carry no time stamp of their own, except where it may differ from their turn's: a turn's time is
that of its `OrchestratorStarted`, or of its row in the store.

Payloads (`input`, `result`) are JSON text exactly as it was received; `None` is "no data".
New fields go to the end and need a default: stored events are arrays.
"""

import msgspec

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
)
"""What an encoded turn may hold."""
