"""A function of an app: its code and its bindings, as both programming models describe them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bide.errors import ConfigurationError

RETURN = "$return"
DURABLE_CLIENTS = frozenset({"durableclient", "orchestrationclient"})
_DURABLE_NAME_KEYS = {
    "orchestrationtrigger": "orchestration",
    "activitytrigger": "activity",
    "entitytrigger": "entityName",
}
_DIRECTIONS = frozenset({"in", "out", "inout"})


@dataclass(frozen=True)
class Binding:
    """One binding. `type` and `direction` are lower-case; `values` are all its keys, as they are written."""

    name: str
    type: str
    direction: str
    values: Mapping[str, Any]

    @property
    def is_trigger(self) -> bool:
        return self.type.endswith("trigger")

    def get(self, key: str, default: Any = None) -> Any:
        """Look a key up without regard to case: function.json files spell them in several ways."""
        for name, value in self.values.items():
            if name.casefold() == key.casefold():
                return value
        return default


@dataclass(frozen=True)
class Function:
    """One function. `where` is what messages call it: its file, and for decorators its name in there."""

    name: str
    call: Callable[..., Any]
    bindings: tuple[Binding, ...]
    where: str
    directory: Path
    is_disabled: bool = False

    @cached_property
    def trigger(self) -> Binding:
        return next(binding for binding in self.bindings if binding.is_trigger)

    @cached_property
    def durable_name(self) -> str:
        """The name under which orchestrators, activities and entities are called."""
        key = _DURABLE_NAME_KEYS.get(self.trigger.type)
        return str((self.trigger.get(key) if key else None) or self.name)

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.call).parameters

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.call)


def parse_bindings(values: Any, where: str) -> tuple[Binding, ...]:
    """Check and read a list of bindings; exactly one must be a trigger.

    Raises `ConfigurationError` that names the place (`where`) and the key.
    """
    if not isinstance(values, list):
        raise ConfigurationError(f"{where}: bindings must be a list, not {type(values).__name__}.")
    bindings = tuple(_parse_binding(value, f"{where}: bindings[{number}]") for number, value in enumerate(values))
    triggers = [binding.type for binding in bindings if binding.is_trigger]
    if len(triggers) != 1:
        found = " and ".join(triggers) or "none"
        raise ConfigurationError(f"{where}: a function has exactly one trigger among its bindings; found {found}.")
    return bindings


def _parse_binding(value: Any, where: str) -> Binding:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where} must be an object, not {type(value).__name__}.")
    texts = {key.casefold(): text for key, text in value.items() if isinstance(text, str)}
    for key in ("type", "name"):
        if not texts.get(key):
            raise ConfigurationError(f"{where}.{key} is missing, or is not text.")
    direction = texts.get("direction", "in").casefold()
    if direction not in _DIRECTIONS:
        raise ConfigurationError(f"{where}.direction must be in, out or inout, not {texts['direction']!r}.")
    return Binding(texts["name"], texts["type"].casefold(), direction, value)
