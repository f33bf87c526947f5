"""Durable orchestrations that wait for external events."""

from typing import TYPE_CHECKING, Any

from bide.app import App, Blueprint
from bide.client.base import (
    Client,
    ClusterStatus,
    DeadEvent,
    EntityStatus,
    HistoryEntry,
    NodeStatus,
    OpenWait,
    OrchestrationStatus,
    QueuedMessage,
    RaisedEvent,
    ResultPage,
)
from bide.core.context import OrchestrationContext
from bide.core.entity_context import EntityContext
from bide.core.locks import EntityLock
from bide.core.retry import RetryOptions
from bide.core.tasks import Task
from bide.errors import (
    BideError,
    ConfigurationError,
    EntityNotFoundError,
    EventPayloadError,
    HubBusyError,
    HubClosedError,
    HubUnreachableError,
    InstanceEndedError,
    InstanceError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStateError,
    InvalidIdError,
    InvalidInputError,
    LeaseLostError,
    NonDeterminismError,
    OrchestrationError,
    OrchestratorContractError,
    OrchestratorNotFoundError,
    PayloadNotSerializableError,
    PayloadTooLargeError,
    RemoteError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    StoreUnavailableError,
    StoreVersionError,
    TaskFailedError,
    UnauthorizedError,
)
from bide.hub import Hub
from bide.model.entities import EntityId
from bide.model.failure import FailureDetails
from bide.model.instance import DeadLetterReason, IdReusePolicy, OrchestrationRuntimeStatus
from bide.model.nodes import NodeRole

if TYPE_CHECKING:
    from bide.client.http import connect
    from bide.client.http_sync import connect_sync

__version__ = "0.1.0"

__all__ = [
    "App",
    "BideError",
    "Blueprint",
    "Client",
    "ClusterStatus",
    "ConfigurationError",
    "DeadEvent",
    "DeadLetterReason",
    "EntityContext",
    "EntityId",
    "EntityLock",
    "EntityNotFoundError",
    "EntityStatus",
    "EventPayloadError",
    "FailureDetails",
    "HistoryEntry",
    "Hub",
    "HubBusyError",
    "HubClosedError",
    "HubUnreachableError",
    "IdReusePolicy",
    "InstanceEndedError",
    "InstanceError",
    "InstanceExistsError",
    "InstanceNotFoundError",
    "InstanceStateError",
    "InvalidIdError",
    "InvalidInputError",
    "LeaseLostError",
    "NodeRole",
    "NodeStatus",
    "NonDeterminismError",
    "OpenWait",
    "OrchestrationContext",
    "OrchestrationError",
    "OrchestrationRuntimeStatus",
    "OrchestrationStatus",
    "OrchestratorContractError",
    "OrchestratorNotFoundError",
    "PayloadNotSerializableError",
    "PayloadTooLargeError",
    "QueuedMessage",
    "RaisedEvent",
    "RemoteError",
    "ResultPage",
    "RetryOptions",
    "StoreCorruptError",
    "StoreError",
    "StoreLockedError",
    "StoreUnavailableError",
    "StoreVersionError",
    "Task",
    "TaskFailedError",
    "UnauthorizedError",
    "connect",
    "connect_sync",
]


def __getattr__(name: str) -> Any:
    """Import the HTTP clients when they are first used: httpx is half of the import time."""
    if name == "connect":
        from bide.client.http import connect  # noqa: PLC0415

        return connect
    if name == "connect_sync":
        from bide.client.http_sync import connect_sync  # noqa: PLC0415

        return connect_sync
    raise AttributeError(f"module 'bide' has no attribute {name!r}")
