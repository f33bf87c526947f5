"""`Orchestrator.create` and `Entity.create`: what an app exports as the function of a durable trigger.

bide takes the user's own function from the handle and runs that; a handle is not called.
"""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any


class Orchestrator:
    """Marks a generator function as an orchestrator."""

    @classmethod
    def create(cls, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make what `function.json` names as the entry point."""
        handle = _handle(fn)
        handle.orchestrator_function = fn  # type: ignore[attr-defined]
        return handle


class Entity:
    """Marks a function as an entity."""

    @classmethod
    def create(cls, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make what `function.json` names as the entry point."""
        handle = _handle(fn)
        handle.entity_function = fn  # type: ignore[attr-defined]
        return handle


def user_function(call: Callable[..., Any]) -> Callable[..., Any]:
    """Give the user's own function behind a handle, or `call` if it is none."""
    for attribute in ("orchestrator_function", "entity_function"):
        function = getattr(call, attribute, None)
        if callable(function):
            return function  # type: ignore[no-any-return]
    return call


def _handle(function: Callable[..., Any]) -> Callable[..., Any]:
    def handle(_: Any) -> Any:
        raise RuntimeError(f"{function.__qualname__} runs inside a host (bide serve); to test it, call it directly.")

    return update_wrapper(handle, function)
