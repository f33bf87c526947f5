"""Runs the generator of a Functions app's orchestrator with the SDK's executor on the engine."""

import logging
from collections.abc import Callable, Generator
from types import FrameType, GeneratorType, TracebackType
from typing import Any

import bide
from bide.errors import ConfigurationError
from bide.functions.durable.orchestrator import OrchestratorFailedError
from bide.functions.durable.payload import raw
from bide.functions.sdk.kept import KeptExecutor, make_context

_log = logging.getLogger("bide.functions")


def adapt(name: str, handle: Callable[..., Any]) -> Callable[[bide.OrchestrationContext], Any]:
    """Make an orchestrator for the engine of the SDK's handle. Register it with `newest_wait_first`, the SDK's rule.

    Raises `ConfigurationError` when `handle` is not one.
    """
    function = getattr(handle, "orchestrator_function", None)
    if not callable(function):
        raise ConfigurationError(
            f"Orchestrator {name!r} was not made by azure.durable_functions, of version 1.3 or later: "
            "decorate it with orchestration_trigger, or export Orchestrator.create(function) as main."
        )
    expected_type = getattr(handle, "_df_input_type", None)

    def run(engine: bide.OrchestrationContext) -> Any:
        try:
            context = make_context(engine, expected_type)
            steps = function(context)
            if isinstance(steps, GeneratorType):
                return _Steps(name, engine, steps, KeptExecutor(engine, context, steps))
            KeptExecutor(engine, context).act()
            return raw(steps)
        except Exception as error:
            raise _failed(name, error, engine) from error

    return run


class _Steps(Generator[Any, Any, Any]):
    """The engine's view of the user's generator. What it sends in does not matter: the SDK has been told by the tasks."""

    def __init__(
        self, name: str, engine: bide.OrchestrationContext, steps: "GeneratorType[Any, Any, Any]", kept: KeptExecutor
    ) -> None:
        self._name = name
        self._engine = engine
        self._steps = steps
        self._kept = kept

    @property
    def gi_frame(self) -> FrameType | None:
        return self._steps.gi_frame

    @property
    def gi_yieldfrom(self) -> Any:
        return self._steps.gi_yieldfrom

    def send(self, _: Any) -> Any:
        """Go on."""
        try:
            turn = self._kept.run()
            if turn is None:
                self._steps.close()  # it may stand at a yield, after continue_as_new
            result = raw(self._kept.output) if turn is None else None
        except Exception as error:
            raise _failed(self._name, error, self._engine) from error
        if turn is None:
            raise StopIteration(result)
        return turn

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None) -> Any:  # noqa: ARG002
        """Go on: the SDK knows of the error, and raises its own for it."""
        return self.send(None)

    def close(self) -> None:
        self._steps.close()


def _failed(name: str, error: Exception, engine: bide.OrchestrationContext) -> OrchestratorFailedError:
    if not engine.is_replaying:
        _log.error("orchestrator %s failed", name, exc_info=error)
    return OrchestratorFailedError(f"Orchestrator function '{name}' failed: {str(error) or type(error)}")
