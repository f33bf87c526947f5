"""Entities under their names: functions that take a context, and classes whose methods are the operations."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from bide.core.entity_context import EntityContext
from bide.errors import ConfigurationError, InvalidInputError
from bide.model.codec import encode_payload

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Operation:
    """An operation that is ready to be run: `call` runs it, and then, also when it raised, `save` sets the state."""

    call: Callable[[], Any]
    is_async: bool
    save: Callable[[], None]


@dataclass(frozen=True)
class FunctionEntity:
    """An entity that is a function of the context."""

    name: str
    function: Callable[[EntityContext], Any]

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    def prepare(self, context: EntityContext) -> Operation:
        return Operation(lambda: self.function(context), self.is_async, _nothing)


@dataclass(frozen=True)
class ClassEntity:
    """An entity that is a class: its fields are the state, its public methods the operations."""

    name: str
    function: type[Any]

    @cached_property
    def methods(self) -> Mapping[str, "Method"]:
        """The operations by name, without case."""
        return {method.name.casefold(): method for method in _methods(self.function)}

    @cached_property
    def is_async(self) -> bool:
        """Whether any of the operations is."""
        return any(method.is_async for method in self.methods.values())

    def prepare(self, context: EntityContext) -> Operation:
        """Bring back the object and find the method. Raises `InvalidInputError` that names the operations there are."""
        method = self.methods.get(context.operation_name.casefold())
        if method is None and context.operation_name.casefold() == "delete":
            return Operation(context.destruct_on_exit, is_async=False, save=_nothing)
        if method is None:
            names = ", ".join(sorted([method.name for method in self.methods.values()]))
            raise InvalidInputError(f"Entity {self.name!r} has no operation {context.operation_name!r}, only {names}.")
        target = context.get_state(self.function, self.function)
        before = encode_payload(target)

        def save() -> None:
            if encode_payload(target) != before:  # an entity that was only looked at does not come into being
                context.set_state(target)

        arguments = method.arguments(context)
        return Operation(lambda: method.function(target, **arguments), method.is_async, save)


Entity = FunctionEntity | ClassEntity


@dataclass(frozen=True)
class Method:
    """A method that is an operation. It takes the input, or the context (so annotated), or both, or none."""

    name: str
    function: Callable[..., Any]

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    def arguments(self, context: EntityContext) -> dict[str, Any]:
        """Arguments of a call. Raises `ValueError` when the input does not fit."""
        into = self._annotations
        found: dict[str, Any] = {}
        for parameter in self._parameters:
            if _is_context(into.get(parameter.name)):
                found[parameter.name] = context
            elif not context.has_input and parameter.default is not inspect.Parameter.empty:
                continue
            else:
                found[parameter.name] = context.get_input(into.get(parameter.name))
        return found

    def check(self, entity: str) -> None:
        """Raise `ConfigurationError` unless it can be called with one input."""
        annotations = inspect.get_annotations(self.function)
        required = [
            parameter.name
            for parameter in self._parameters
            if parameter.default is inspect.Parameter.empty and not _is_context(annotations.get(parameter.name))
        ]
        if len(required) > 1:
            raise ConfigurationError(
                f"Operation {self.name!r} of entity {entity!r} wants {len(required)} arguments, and gets one, its input. "
                "Pass a list, a dict or a dataclass."
            )

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        """All after `self`; of those with a default, only the first can be the input."""
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        inputs = 0
        kept = []
        for parameter in parameters:
            if parameter.kind not in _POSITIONAL:
                continue
            inputs += not _is_context(inspect.get_annotations(self.function).get(parameter.name))
            if inputs <= 1 or parameter.default is inspect.Parameter.empty:
                kept.append(parameter)
        return kept

    @cached_property
    def _annotations(self) -> dict[str, Any]:
        return inspect.get_annotations(inspect.unwrap(self.function), eval_str=True)


def make_entity(name: str, target: Callable[..., Any]) -> Entity:
    """Make an entity of a function or a class. Raises `ConfigurationError` when it cannot be one."""
    if "@" in name:
        raise ConfigurationError(f"{name!r} cannot be the name of an entity: it has an '@'.")
    if not isinstance(target, type):
        _check_function(target)
        return FunctionEntity(name, target)
    _check_class(target)
    known: dict[str, Method] = {}
    for method in _methods(target):
        method.check(name)
        same = known.setdefault(method.name.casefold(), method)
        if same is not method:
            raise ConfigurationError(
                f"Operations {same.name!r} and {method.name!r} of entity {name!r} differ by case only, and are one. Rename one."
            )
    return ClassEntity(name, target)


def _check_function(function: Callable[..., Any]) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"Entity {function.__qualname__} is a generator; an operation returns one value.")
    if not inspect.signature(function).parameters:
        raise ConfigurationError(f"Entity {function.__qualname__} must take the context as its argument.")


def _check_class(cls: type[Any]) -> None:
    if not (dataclasses.is_dataclass(cls) or issubclass(cls, msgspec.Struct)):
        raise ConfigurationError(
            f"Entity {cls.__qualname__} must be a dataclass or a msgspec.Struct: its fields are the state. "
            "Write @app.entity above @dataclass."
        )
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise ConfigurationError(
            f"Entity {cls.__qualname__} cannot be made without arguments ({error}): give each field a default."
        ) from error


def _methods(cls: type[Any]) -> Iterator[Method]:
    """Public methods, those of base classes too, but for what dataclasses and Structs bring along."""
    for name in dir(cls):
        function = inspect.getattr_static(cls, name)
        if not name.startswith("_") and inspect.isfunction(function):
            yield Method(name, function)


def _is_context(annotation: Any) -> bool:
    """Whether a parameter asks for the context; its annotation may still be text."""
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == EntityContext.__name__
    return annotation is EntityContext


def _nothing() -> None:
    """A function entity sets its state itself."""
