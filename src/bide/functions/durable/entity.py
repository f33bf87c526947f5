"""`DurableEntityContext`: what an entity function of a Functions app sees, over bide's own context."""

from collections.abc import Callable
from typing import Any

import msgspec

import bide
from bide.functions.durable.payload import loads, loads_input, raw, text_of


class DurableEntityContext:
    """One operation on one entity."""

    def __init__(self, engine: bide.EntityContext, *, is_v1: bool) -> None:
        self._engine = engine
        self._is_v1 = is_v1

    @property
    def entity_name(self) -> str:
        return self._engine.entity_name

    @property
    def entity_key(self) -> str:
        return self._engine.entity_key

    @property
    def operation_name(self) -> str:
        return self._engine.operation_name

    @property
    def is_newly_constructed(self) -> bool:
        return self._engine.is_newly_constructed

    def get_state(self, initializer: Callable[[], Any] | None = None, expected_type: Any = None) -> Any:
        """Return the state; without one what `initializer` gives."""
        text = text_of(self._engine.get_state(type=msgspec.Raw))
        if text is None:
            return initializer() if initializer is not None else None
        return loads(text, expected_type)

    def set_state(self, state: Any) -> None:
        self._engine.set_state(raw(state))

    def get_input(self, expected_type: Any = None) -> Any:
        return loads_input(text_of(self._engine.get_input(msgspec.Raw)), expected_type, is_v1=self._is_v1)

    def set_result(self, result: Any) -> None:
        self._engine.set_result(raw(result))

    def destruct_on_exit(self) -> None:
        """Remove the entity's state when the operation is over."""
        self._engine.destruct_on_exit()


def adapt(function: Callable[[DurableEntityContext], Any], *, is_v1: bool) -> Callable[[bide.EntityContext], Any]:
    """Make an entity for the engine of one for Azure."""

    def run(engine: bide.EntityContext) -> None:
        function(DurableEntityContext(engine, is_v1=is_v1))

    return run
