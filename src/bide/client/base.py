"""The `Client` protocol and the values its verbs return.

A hub has a client in its own process (`hub.client`); `bide.connect(url)` gives one over HTTP. Both have the verbs
below with the same arguments, results and errors. A verb that changes something returns after the commit that
holds the change.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from bide.model.clock import to_datetime
from bide.model.entities import EntityId
from bide.model.events import HistoryEvent
from bide.model.failure import FailureDetails
from bide.model.instance import DeadLetterReason, IdReusePolicy, OrchestrationRuntimeStatus
from bide.model.nodes import NodeRole

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 100
"""As `top` of Durable Functions' HTTP API."""


class OpenWait(msgspec.Struct, frozen=True, kw_only=True):
    """An event that an instance waits for: since when, until when (None: for ever), of which type if one was asked for."""

    instance_id: str
    name: str
    since: datetime
    deadline: datetime | None = None
    type: str | None = None


class HistoryEntry(msgspec.Struct, frozen=True):
    """One history event with the turn it was written in (from 0) and the time."""

    turn: int
    timestamp: datetime
    event: HistoryEvent


class OrchestrationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an instance. `input`, `output` and `custom_status` are decoded JSON.

    `output` is the result when Completed, the error's text when Failed, the reason when Terminated. `waits` are the
    open waits, `buffered` counts accepted events that no wait has asked for yet, by name.
    `history` is there if it was asked for.
    """

    instance_id: str
    name: str
    runtime_status: OrchestrationRuntimeStatus
    created_time: datetime
    last_updated_time: datetime
    input: Any = None
    output: Any = None
    custom_status: Any = None
    failure: FailureDetails | None = None
    version: str | None = None
    tags: Mapping[str, str] = {}
    parent_instance_id: str | None = None
    generation: int = 0
    scheduled_start_time: datetime | None = None
    waits: tuple[OpenWait, ...] = ()
    buffered: Mapping[str, int] = {}
    history: tuple[HistoryEntry, ...] | None = None


class RaisedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Receipt of a raised event. `is_duplicate`: its `event_id` had been accepted before, nothing changed."""

    instance_id: str
    name: str
    event_id: str | None = None
    is_duplicate: bool = False


class DeadEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that no wait will consume, and why. `data` is decoded JSON."""

    instance_id: str
    name: str
    data: Any
    event_id: str | None
    raised_at: datetime
    recorded_at: datetime
    reason: DeadLetterReason


class QueuedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message in one of the hub's queues. It is hidden until `visible_at`, and kept until it is handled or `expires_at`."""

    id: str
    queue: str
    body: str
    inserted_at: datetime
    visible_at: datetime
    dequeue_count: int = 0
    expires_at: datetime | None = None


class EntityStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an entity: its committed state as decoded JSON, None when there is none or it was not asked for.

    `last_operation_time` is when it last took something in or finished something, `locked_by` the orchestration that holds
    its lock, `backlog` how many requests are not done yet, without signals that are scheduled for later.
    """

    entity_id: EntityId
    state: Any = None
    last_operation_time: datetime
    locked_by: str | None = None
    backlog: int = 0


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A process that serves the hub: what it owns and how busy it is.

    `waiting` counts messages for its instances that are not handled yet, in its memory and stored by others; `resident` its
    instances in memory, `running` its activities and entity operations, `rate` the messages that it handled a second lately.
    """

    name: str
    role: NodeRole
    partitions: tuple[int, ...]
    joined_time: datetime
    last_seen_time: datetime
    waiting: int = 0
    resident: int = 0
    running: int = 0
    rate: float = 0.0


class ClusterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes of a hub, by when they joined. `unowned` partitions wait for a node to take them over.

    `offered` counts activities that no node has had room for yet. A hub on an embedded store is one node with one partition.
    """

    nodes: tuple[NodeStatus, ...]
    partitions: int
    unowned: tuple[int, ...] = ()
    offered: int = 0


class ResultPage(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. Pass `continuation_token` to get the next one; None: this was the last."""

    items: tuple[T, ...]
    continuation_token: str | None = None


class Client(Protocol):
    """The verbs. Any of them may raise `StoreUnavailableError`, `HubBusyError`, `HubClosedError`, and over HTTP also
    `HubUnreachableError` and `UnauthorizedError`.

    Event data and inputs are any value that can be written as JSON; else `PayloadNotSerializableError`,
    above the limit `PayloadTooLargeError`, before anything is sent.
    """

    async def start_new(
        self,
        orchestrator: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        *,
        start_at: datetime | timedelta | None = None,
        id_reuse: IdReusePolicy = IdReusePolicy.REPLACE_ENDED,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Start an instance and return its id (32 hex digits that grow with time when none is given).

        `start_at`, a time or a span from now, delays the first turn: the instance is Pending until then, and keeps
        events that arrive. `version` defaults to the app's.

        Raises `OrchestratorNotFoundError`, `InvalidIdError`, `InstanceExistsError` (as `id_reuse` says).
        """
        ...

    async def raise_event(
        self, instance_id: str, name: str, data: Any = None, *, event_id: str | None = None
    ) -> RaisedEvent:
        """Raise an external event. When this returns the event is stored and will be consumed by one wait at most.

        A second raise with the same `event_id` on the same instance changes nothing and is answered as a duplicate,
        also after the instance has ended.

        Raises `InstanceNotFoundError` or `InstanceEndedError`, and then the event is recorded as a dead letter.
        """
        ...

    async def get_status(
        self, instance_id: str, *, show_history: bool = False, show_input: bool = True
    ) -> OrchestrationStatus:
        """What is known of an instance. Raises `InstanceNotFoundError`."""
        ...

    async def get_status_by(
        self,
        *,
        runtime_status: Iterable[OrchestrationRuntimeStatus] | None = None,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        instance_id_prefix: str | None = None,
        name: str | None = None,
        waiting_for: str | None = None,
        show_input: bool = True,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[OrchestrationStatus]:
        """Instances that match all the filters given, newest first. Time limits are inclusive. Without waits."""
        ...

    async def wait_for_completion(
        self, instance_id: str, *, timeout: timedelta | float | None = None
    ) -> OrchestrationStatus:
        """Wait until the instance has ended, and return its status. A number for `timeout` is in seconds.

        Raises `InstanceNotFoundError`; `TimeoutError` when it has not ended by then.
        """
        ...

    async def terminate(self, instance_id: str, reason: str | None = None, *, recursive: bool = False) -> None:
        """End the instance now; its output is `reason`. `recursive` also ends its sub-orchestrations.

        Activities that run go on, their results are dropped. Raises `InstanceNotFoundError`, `InstanceEndedError`.
        """
        ...

    async def suspend(self, instance_id: str, reason: str | None = None) -> None:
        """Stop handling events, results and timers until resumed; they are kept in order. Suspending twice is fine.

        Raises `InstanceNotFoundError`, `InstanceEndedError`.
        """
        ...

    async def resume(self, instance_id: str, reason: str | None = None) -> None:
        """Go on with a suspended instance; no effect on one that is not suspended.

        Raises `InstanceNotFoundError`, `InstanceEndedError`.
        """
        ...

    async def rewind(self, instance_id: str, reason: str | None = None) -> None:
        """Take up a Failed instance again: what failed counts as not having happened, and is tried anew.

        Raises `InstanceNotFoundError`, `InstanceStateError` when it is not Failed, `NonDeterminismError` when the
        code does not fit the history.
        """
        ...

    async def restart(self, instance_id: str, *, restart_with_new_instance_id: bool = True) -> str:
        """Start an orchestration again with the name and input of an existing one; return the id.

        Raises `InstanceNotFoundError`; `InstanceExistsError` when the same id is asked for and it has not ended.
        """
        ...

    async def purge(self, instance_id: str, *, force: bool = False, recursive: bool = False) -> int:
        """Remove an ended instance with its history; return how many were removed.

        `force` also removes a live one, `recursive` its sub-orchestrations too. Dead letters stay.
        Raises `InstanceNotFoundError`, `InstanceStateError` when it has not ended.
        """
        ...

    async def purge_by(
        self,
        *,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Iterable[OrchestrationRuntimeStatus] | None = None,
    ) -> int:
        """Remove the ended instances that match all the filters; return how many. Live ones are never touched.

        Not one transaction: it goes in steps of some hundred instances, and repeating it after an error goes on.
        """
        ...

    async def get_history(self, instance_id: str) -> tuple[HistoryEntry, ...]:
        """All history events of the current execution. Raises `InstanceNotFoundError`."""
        ...

    async def waits(
        self,
        *,
        instance_id: str | None = None,
        name: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[OpenWait]:
        """Open waits, oldest first: of one instance, for one event name (in any case), or all."""
        ...

    async def dead_letters(
        self,
        *,
        instance_id: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[DeadEvent]:
        """Events that were not consumed and never will be, newest first."""
        ...

    async def send_queue_message(self, queue: str, body: str, *, delay: timedelta | float | None = None) -> str:
        """Send a message to one of the hub's own queues, for a queue function of a hosted app, and return its id.

        The queue need not exist. `delay`, a number is in seconds, hides the message for that long. Not repeatable: a second
        call sends a second message. Raises `InvalidIdError` for the queue's name, `InvalidInputError`, and
        `PayloadTooLargeError` above the limit.
        """
        ...

    async def queues(self) -> Mapping[str, int]:
        """How many messages each of the hub's queues holds, by name in order: hidden ones too, queues without messages not."""
        ...

    async def peek_queue(self, queue: str, *, limit: int = DEFAULT_PAGE_SIZE) -> tuple[QueuedMessage, ...]:
        """The next messages of a queue, hidden ones too, in the order of delivery. Nothing is taken."""
        ...

    async def nodes(self) -> ClusterStatus:
        """Who serves the hub, who owns what, and what waits."""
        ...

    async def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input_: Any = None,
        *,
        scheduled_time: datetime | timedelta | None = None,
    ) -> None:
        """Have an entity do an operation, at a time or after a span if one is given. When this returns the signal is stored.

        It is done once, after those that were stored before it; nobody is told the result. An entity comes into being by
        its first operation. Raises `EntityNotFoundError`, and then the signal is recorded as a dead letter;
        `InvalidIdError`.
        """
        ...

    async def get_entity(self, entity_id: EntityId | str) -> EntityStatus | None:
        """What is known of an entity; None when it has no state and nothing to do. Raises `InvalidIdError`."""
        ...

    async def list_entities(
        self,
        name: str | None = None,
        *,
        last_operation_from: datetime | None = None,
        last_operation_to: datetime | None = None,
        fetch_state: bool = False,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[EntityStatus]:
        """Entities, those that came into being last first, of one name (in any case) or all. Time limits are inclusive."""
        ...


def optional_datetime(micros: int | None) -> datetime | None:
    return None if micros is None else to_datetime(micros)
