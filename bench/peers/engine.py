"""What a workload asks of an engine. Imported in every environment: nothing here needs more than Python."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Protocol


class Engine(Protocol):
    """Starts the workflows `approval`, `chain`, `fan_out` and `consumer`, each of a size."""

    async def start(self, workflow: str, size: int) -> str:
        """Return the instance's id once the instance is accepted."""
        ...

    async def raise_event(self, instance_id: str, name: str, number: int) -> None:
        """Return once the event is accepted. `number` counts the events of one name from 0."""
        ...

    async def completed(self, instance_id: str) -> None:
        """Return once the client knows that the instance has completed."""
        ...

    async def kill(self) -> None:
        """End at once, as in a crash; one that runs in this process ends this process."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where an engine keeps what it stores."""

    folder: Path
    url: str


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """How often each workload is repeated: enough for a steady figure, and the whole in two or three minutes."""

    approvals: int
    singles: int
    parked: int
    """0 if instances do not outlive the process."""
    events: int
    chains: int
    chains_together: int
    fan_outs: int


class Opener(Protocol):
    def __call__(self, place: Place) -> contextlib.AbstractAsyncContextManager[Engine]: ...
