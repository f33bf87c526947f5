"""Finds the installed SDK, and the few of its classes that we drive."""

import importlib
import importlib.metadata
from dataclasses import dataclass
from functools import cache
from typing import Any

from bide.errors import ConfigurationError

DISTRIBUTION = "azure-functions-durable"
_NAME = "azure.durable_functions"


def available() -> str | None:
    """Return the version of the installed SDK if it is 1.x, found without importing it; else None."""
    version = _installed()
    return version if version is not None and version.startswith("1.") else None


def require() -> str:
    """Return the version of the installed SDK. Raises `ConfigurationError` when there is none, or it is not 1.x."""
    version = available()
    if version is None:
        found = _installed()
        raise ConfigurationError(
            f"{DISTRIBUTION} 1.x is {'not installed' if found is None else f'needed, but {found} is installed'}: "
            f"pip install '{DISTRIBUTION}>=1.7,<2', or run the app on bide's own module, the default."
        )
    return version


def _installed() -> str | None:
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Sdk:
    """Classes of the SDK: the user's context, what runs the user's code, an event of the history, the state of an open task."""

    context: Any
    executor: Any
    event: Any
    running: Any


@cache
def load() -> Sdk:
    """Import the SDK. Raises `ConfigurationError` as `require` does."""
    require()
    # This module's names, not those where the classes are defined: it is here that the SDK itself looks them up.
    orchestrator = importlib.import_module(f"{_NAME}.orchestrator")
    return Sdk(
        orchestrator.DurableOrchestrationContext,
        orchestrator.TaskOrchestrationExecutor,
        importlib.import_module(f"{_NAME}.models.history").HistoryEvent,
        importlib.import_module(f"{_NAME}.models.Task").TaskState.RUNNING,
    )
