"""One call of a user function: arguments from its bindings, outputs back to them."""

import inspect
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import azure.functions as func
from azure.functions import meta

from bide.functions.durable.payload import loads
from bide.functions.function import DURABLE_CLIENTS, RETURN, Binding, Function
from bide.functions.user_code import UserCode

T = TypeVar("T")

_CONVERTERS = {name.casefold(): name for name in ("httpTrigger", "queueTrigger", "timerTrigger")}
"""How azure.functions spells the types that it converts for us."""
_TEXT = (str, "str")
_BYTES = (bytes, "bytes")


class TriggerValue(Protocol):
    """What a trigger brings."""

    def for_parameter(self, binding: Binding, parameter: inspect.Parameter, /) -> Any:
        """Give it in the form that the parameter wants."""
        ...


@dataclass(frozen=True)
class JsonValue:
    """A payload of the engine: an activity's input, as JSON text."""

    text: str | None

    def for_parameter(self, _binding: Binding, _parameter: inspect.Parameter) -> Any:
        return loads(self.text)


@dataclass(frozen=True)
class AzureValue:
    """A value for the converters of `azure.functions`; a parameter annotated `str` or `bytes` gets it as it is."""

    datum: meta.Datum
    metadata: Mapping[str, meta.Datum] = field(default_factory=dict)

    def for_parameter(self, binding: Binding, parameter: inspect.Parameter) -> Any:
        if parameter.annotation in _TEXT:
            return self._bytes().decode(errors="replace")
        if parameter.annotation in _BYTES:
            return self._bytes()
        registry: Any = meta.get_binding_registry()  # type: ignore[no-untyped-call]
        converter = registry.get(_CONVERTERS[binding.type])
        return converter.decode(self.datum, trigger_metadata=self.metadata)

    def _bytes(self) -> bytes:
        value = self.datum.value["body"].value if self.datum.type == "http" else self.datum.value
        return value if isinstance(value, bytes) else str(value).encode()


@dataclass
class Invocation:
    """One call of a function: what comes in by its trigger (`value`), and what went out."""

    function: Function
    value: "TriggerValue"
    id: str = field(default_factory=lambda: str(uuid4()))
    outputs: dict[str, "Out"] = field(default_factory=dict)
    returned: Any = None

    async def run(self, code: UserCode, client: str) -> None:
        """Call the function; `client` is the text of its durable client binding. Raises what the function raises."""
        self.returned = await code.call(self.function.call, self.arguments(client))

    def arguments(self, client: str) -> dict[str, Any]:
        bindings = {binding.name: binding for binding in self.function.bindings}
        values: dict[str, Any] = {}
        for name, parameter in self.function.parameters.items():
            binding = bindings.get(name)
            if binding is not None:
                values[name] = self._value(binding, parameter, client)
            elif name == "context":
                values[name] = Context(self.function, self.id)
        return values

    def _value(self, binding: Binding, parameter: inspect.Parameter, client: str) -> Any:
        if binding.direction == "out":
            return self.outputs.setdefault(binding.name, Out())
        if binding.type in DURABLE_CLIENTS:
            return client
        if not binding.is_trigger:
            return None
        return self.value.for_parameter(binding, parameter)

    def values(self) -> list[tuple[Binding, Any]]:
        """Give what each output binding got, the return value for `$return`; those that got nothing are left out."""
        found = []
        for binding in self.function.bindings:
            if binding.direction != "out":
                continue
            out = self.outputs.get(binding.name)
            value = self.returned if binding.name == RETURN else out.get() if out is not None else None
            if value is not None:
                found.append((binding, value))
        return found


class Out(func.Out[Any]):
    """An output parameter."""

    def __init__(self) -> None:
        self._value: Any = None

    def set(self, val: Any) -> None:
        self._value = val

    def get(self) -> Any:
        return self._value


class _TraceContext:
    """Azure's names, in both spellings; nothing is ever in them."""

    def __init__(self) -> None:
        self.Traceparent = self.trace_parent = ""
        self.Tracestate = self.trace_state = ""
        self.Attributes: dict[str, str] = {}
        self.attributes = self.Attributes


class _RetryContext:
    retry_count = 0
    max_retry_count = 0
    exception = None


class Context(func.Context):
    """What a parameter named `context` gets."""

    _local = threading.local()

    def __init__(self, function: Function, invocation_id: str) -> None:
        self._function = function
        self._invocation_id = invocation_id

    @property
    def invocation_id(self) -> str:
        return self._invocation_id

    @property
    def thread_local_storage(self) -> Any:
        return self._local

    @property
    def function_name(self) -> str:
        return self._function.name

    @property
    def function_directory(self) -> str:
        return str(self._function.directory)

    @property
    def trace_context(self) -> Any:
        return _TraceContext()

    @property
    def retry_context(self) -> Any:
        return _RetryContext()
