"""What the rules know of an orchestrator: its name, and how to start it."""

import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from bide.errors import OrchestratorContractError

if TYPE_CHECKING:
    from bide.core.context import OrchestrationContext
    from bide.core.tasks import Task

Steps: TypeAlias = "Generator[Task[Any], Any, Any] | Coroutine[Any, Any, Any]"
"""A started orchestrator: a generator and a coroutine are driven alike, by `send` and `throw`."""


class Orchestrator(Protocol):
    """A registered orchestrator, as the application's registry holds it."""

    @property
    def name(self) -> str: ...

    @property
    def function(self) -> "Callable[[OrchestrationContext], Any]": ...

    @property
    def newest_wait_first(self) -> bool:
        """Whether, of several waits for one name, the one made last gets the event (as in azure-functions-durable 1.x)."""
        ...


def start(orchestrator: Orchestrator, context: "OrchestrationContext") -> "Steps | Finished":
    """Call the function. A generator or coroutine is to be driven; anything else is already the result."""
    steps = orchestrator.function(context)
    if isinstance(steps, Generator | Coroutine):
        return cast("Steps", steps)
    if inspect.isasyncgen(steps):
        raise OrchestratorContractError(
            f"Orchestrator {orchestrator.name!r} is an async generator; write 'async def' with 'await', or 'def' with 'yield'."
        )
    return Finished(steps)


class Finished:
    """An orchestrator that returned without ever waiting."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def location_of(steps: "Steps | None") -> str | None:
    """Source line (file:line) at which the orchestrator is suspended, in its innermost generator."""
    line = None
    while steps is not None:
        frame = getattr(steps, "gi_frame", None) or getattr(steps, "cr_frame", None)
        if frame is None:
            break
        line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        steps = getattr(steps, "gi_yieldfrom", None) or getattr(steps, "cr_await", None)
    return line
