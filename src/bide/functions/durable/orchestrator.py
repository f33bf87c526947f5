"""Runs the generator of a Functions app's orchestrator on the engine."""

import logging
from collections.abc import Callable, Generator
from types import FrameType, GeneratorType, TracebackType
from typing import Any

import bide
from bide.errors import BideError
from bide.functions.durable.context import DurableOrchestrationContext
from bide.functions.durable.payload import raw
from bide.functions.durable.tasks import TaskBase, check_task

_log = logging.getLogger("bide.functions")


class OrchestratorFailedError(Exception):
    """An orchestrator of a Functions app raised; the text is what Azure shows as its output."""


def adapt(
    name: str, function: Callable[[DurableOrchestrationContext], Any], *, is_v1: bool
) -> Callable[[bide.OrchestrationContext], Any]:
    """Make an orchestrator for the engine of one for Azure."""

    def run(engine: bide.OrchestrationContext) -> Any:
        context = DurableOrchestrationContext(engine, is_v1=is_v1)
        try:
            steps = function(context)
        except Exception as error:
            raise _failed(name, error) from error
        return _Steps(name, steps, context) if isinstance(steps, GeneratorType) else raw(steps)

    return run


class _Steps(Generator[Any, Any, Any]):
    """The user's generator, its tasks translated. A class, so that the engine sees the user's frame as the current one."""

    def __init__(self, name: str, steps: "GeneratorType[Any, Any, Any]", context: DurableOrchestrationContext) -> None:
        self._name = name
        self._steps = steps
        self._context = context
        self._task: TaskBase | None = None

    @property
    def gi_frame(self) -> FrameType | None:
        return self._steps.gi_frame

    @property
    def gi_yieldfrom(self) -> Any:
        return self._steps.gi_yieldfrom

    def send(self, _: Any) -> Any:
        """Go on: the result is that of the task which was yielded last."""
        return self._go_on(None)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None) -> Any:  # noqa: ARG002
        """Go on with an error: the task's own, in the SDK's words, if there is one."""
        return self._go_on(kind if value is None else value)

    def close(self) -> None:
        self._steps.close()

    def _go_on(self, error: BaseException | None) -> Any:
        value = None
        if self._task is not None:
            value, own = self._task.outcome()
            error = own if own is not None or error is None else error
        while True:
            try:
                task = self._steps.send(value) if error is None else self._steps.throw(error)
            except StopIteration as stop:
                result = stop.value
                break
            except Exception as failure:
                if not self._context.is_replaying:
                    _log.error("orchestrator %s failed", self._name, exc_info=failure)
                raise _failed(self._name, failure) from failure
            if self._context.will_continue_as_new:
                self._steps.close()
                result = None
                break
            try:
                self._task = check_task(task)
                return self._task.begin()
            except (TypeError, ValueError, BideError) as refused:
                value, error = None, refused
        raise StopIteration(self._encoded(result))

    def _encoded(self, result: Any) -> Any:
        try:
            return raw(result)
        except (TypeError, ValueError) as error:
            raise _failed(self._name, error) from error


def _failed(name: str, error: BaseException) -> Exception:
    return OrchestratorFailedError(f"Orchestrator function '{name}' failed: {error}")
