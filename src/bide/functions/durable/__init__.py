"""bide's own `azure.durable_functions`: the public names of SDK 1.x and 2.x, over bide's engine.

`install` puts it under that name, before the app is imported.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from bide.functions.durable import http, status, tasks
from bide.functions.durable.client import DurableOrchestrationClient, SyncDurableFunctionsClient
from bide.functions.durable.context import DurableOrchestrationContext
from bide.functions.durable.decorators import Blueprint, DFApp
from bide.functions.durable.entity import DurableEntityContext
from bide.functions.durable.entity_id import EntityId
from bide.functions.durable.handles import Entity, Orchestrator
from bide.functions.durable.http import ManagedIdentityTokenSource
from bide.functions.durable.retry import RetryOptions, RetryPolicy
from bide.functions.durable.status import DurableOrchestrationStatus, OrchestrationRuntimeStatus

DurableFunctionsClient = DurableOrchestrationClient

__all__ = [
    "Blueprint",
    "DFApp",
    "DurableEntityContext",
    "DurableFunctionsClient",
    "DurableOrchestrationClient",
    "DurableOrchestrationContext",
    "DurableOrchestrationStatus",
    "Entity",
    "EntityId",
    "ManagedIdentityTokenSource",
    "OrchestrationRuntimeStatus",
    "Orchestrator",
    "RetryOptions",
    "RetryPolicy",
    "SyncDurableFunctionsClient",
]

NAME = "azure.durable_functions"

_CONSTANTS = {
    "DEFAULT_LOCAL_HOST": "localhost:7071",
    "DEFAULT_LOCAL_ORIGIN": "http://localhost:7071",
    "DATETIME_STRING_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
    "HTTP_ACTION_NAME": http.ACTIVITY,
    "ORCHESTRATION_TRIGGER": "orchestrationTrigger",
    "ACTIVITY_TRIGGER": "activityTrigger",
    "ENTITY_TRIGGER": "entityTrigger",
    "DURABLE_CLIENT": "durableClient",
}

_PATHS: dict[str, Mapping[str, object]] = {
    "constants": _CONSTANTS,
    "orchestrator": {"Orchestrator": Orchestrator},
    "entity": {"Entity": Entity},
    "decorators": {"Blueprint": Blueprint, "DFApp": DFApp},
    "decorators.durable_app": {"Blueprint": Blueprint, "DFApp": DFApp},
    "models": {
        "DurableOrchestrationClient": DurableOrchestrationClient,
        "DurableOrchestrationContext": DurableOrchestrationContext,
        "DurableEntityContext": DurableEntityContext,
        "DurableOrchestrationStatus": DurableOrchestrationStatus,
        "OrchestrationRuntimeStatus": OrchestrationRuntimeStatus,
        "RetryOptions": RetryOptions,
        "EntityStateResponse": status.EntityStateResponse,
        "PurgeHistoryResult": status.PurgeHistoryResult,
    },
    "models.Task": {
        name: getattr(tasks, name)
        for name in (
            "TaskBase", "TaskState", "AtomicTask", "CompoundTask", "TimerTask", "LongTimerTask", "WhenAllTask",
            "WhenAnyTask", "RetryAbleTask",
        )
    },
    "models.DurableOrchestrationClient": {"DurableOrchestrationClient": DurableOrchestrationClient},
    "models.DurableOrchestrationContext": {"DurableOrchestrationContext": DurableOrchestrationContext},
    "models.DurableOrchestrationStatus": {"DurableOrchestrationStatus": DurableOrchestrationStatus},
    "models.DurableEntityContext": {"DurableEntityContext": DurableEntityContext},
    "models.EntityStateResponse": {"EntityStateResponse": status.EntityStateResponse},
    "models.OrchestrationRuntimeStatus": {"OrchestrationRuntimeStatus": OrchestrationRuntimeStatus},
    "models.PurgeHistoryResult": {"PurgeHistoryResult": status.PurgeHistoryResult},
    "models.RetryOptions": {"RetryOptions": RetryOptions},
    "models.TokenSource": {"ManagedIdentityTokenSource": ManagedIdentityTokenSource},
    "models.utils": {},
    "models.utils.entity_utils": {"EntityId": EntityId},
}  # fmt: skip
"""Modules below the package that apps import from, and what they find there."""


def install() -> None:
    """Put this package, and what apps import from below it, under Azure's name; a second time does nothing."""
    if sys.modules.get(NAME) is sys.modules[__name__]:
        return
    import_module("azure.functions")  # the namespace package `azure` must be there
    package = sys.modules[__name__]
    sys.modules[NAME] = package
    sys.modules["azure"].durable_functions = package  # type: ignore[attr-defined]
    for path, names in _PATHS.items():
        module = ModuleType(f"{NAME}.{path}")
        module.__path__ = []
        vars(module).update(names)
        sys.modules[module.__name__] = module
        parent, _, last = module.__name__.rpartition(".")
        if not hasattr(sys.modules[parent], last):  # a class of the same name stays
            setattr(sys.modules[parent], last, module)
