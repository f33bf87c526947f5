"""`App` and `Blueprint`: decorators that put functions, and entities' classes, under a name.

A decorated function stays what it was and can be called, and tested, as before. Its name is its `__name__` unless the
decorator gets another one.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar, overload

from bide.app.entities import Entity, make_entity
from bide.app.importing import FunctionPlace, check_is_importable, place_of
from bide.errors import ConfigurationError
from bide.model.codec import decode_payload
from bide.model.names import NAME_ATTRIBUTE

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class RegisteredOrchestrator:
    """An orchestrator under its name (`core.orchestrator.Orchestrator`)."""

    name: str
    function: Callable[..., Any]
    newest_wait_first: bool = False


@dataclass(frozen=True)
class Activity:
    """An activity under its name.

    The function takes one argument, the input, or none. The input is converted to the argument's annotation.
    """

    name: str
    function: Callable[..., Any]
    wants_process: bool = False
    max_concurrent: int | None = None

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def place(self) -> FunctionPlace:
        """Where worker processes find it. Raises `ConfigurationError` when they would not."""
        return place_of(self.function, f"Activity {self.name!r}")

    def arguments(self, payload: str | None) -> tuple[Any, ...]:
        """Decode the input into the arguments of a call. Raises `ValueError` when it does not fit."""
        parameter = self._parameter
        if parameter is None:
            return ()
        if payload is None and parameter.default is not inspect.Parameter.empty:
            return ()
        return (decode_payload(payload, self._input_type),)

    @cached_property
    def _parameter(self) -> inspect.Parameter | None:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = [p for p in inspect.signature(self.function).parameters.values() if p.kind in kinds]
        return parameters[0] if parameters else None

    @cached_property
    def _input_type(self) -> Any:
        if self._parameter is None:
            return None
        annotations = inspect.get_annotations(inspect.unwrap(self.function), eval_str=True)
        return annotations.get(self._parameter.name)


class Blueprint:
    """A group of orchestrators, activities and entities, to be registered with an `App` (or with another blueprint)."""

    def __init__(self) -> None:
        self._orchestrators: dict[str, RegisteredOrchestrator] = {}
        self._activities: dict[str, Activity] = {}
        self._entities: dict[str, Entity] = {}

    @property
    def orchestrators(self) -> Mapping[str, RegisteredOrchestrator]:
        return MappingProxyType(self._orchestrators)

    @property
    def activities(self) -> Mapping[str, Activity]:
        return MappingProxyType(self._activities)

    @property
    def entities(self) -> Mapping[str, Entity]:
        """By name in lower case."""
        return MappingProxyType(self._entities)

    @overload
    def orchestrator(self, function: F, /) -> F: ...
    @overload
    def orchestrator(self, /, *, name: str | None = None) -> Callable[[F], F]: ...
    def orchestrator(self, function: Any = None, /, *, name: str | None = None) -> Any:
        """Register an orchestrator: a generator function or an `async def` that takes the context.

        Raises `ConfigurationError` when the name is taken, or the function cannot be an orchestrator.
        """

        def register(function: Callable[..., Any]) -> Any:
            _check_orchestrator(function)
            orchestrator = RegisteredOrchestrator(_name(function, name), function)
            self._add(self._orchestrators, "orchestrator", orchestrator)
            return function

        return register if function is None else register(function)

    @overload
    def activity(self, function: F, /) -> F: ...
    @overload
    def activity(
        self, /, *, name: str | None = None, process: bool = False, max_concurrent: int | None = None
    ) -> Callable[[F], F]: ...
    def activity(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        process: bool = False,
        max_concurrent: int | None = None,
    ) -> Any:
        """Register an activity: an ordinary function (run in a thread) or an `async def` (run on the event loop).

        With `process` a function that computes runs in a worker process, on a core of its own. The worker imports the
        function's module, so it must be a plain function at the top level of a module.

        `max_concurrent` bounds how many of this activity run at a time, in all nodes of a hub together; further ones wait, in
        the order in which they were asked for.

        Raises `ConfigurationError` when the name is taken, the function wants more than one argument, a worker process
        could not import it, or `max_concurrent` is below 1.
        """

        def register(function: Callable[..., Any]) -> Any:
            _check_activity(function)
            if process:
                _check_process(function)
            if max_concurrent is not None and max_concurrent < 1:
                raise ConfigurationError(
                    f"max_concurrent of activity {function.__qualname__} is {max_concurrent}; it must be 1 or more."
                )
            activity = Activity(_name(function, name), function, process, max_concurrent)
            self._add(self._activities, "activity", activity)
            return function

        return register if function is None else register(function)

    @overload
    def entity(self, target: F, /) -> F: ...
    @overload
    def entity(self, /, *, name: str | None = None) -> Callable[[F], F]: ...
    def entity(self, target: Any = None, /, *, name: str | None = None) -> Any:
        """Register an entity: a function that takes the context, or a class. Its name is the same in any case.

        A function, plain or `async def`, does all operations; what it returns is the result. A class is a dataclass or a
        `msgspec.Struct` whose fields, all with defaults, are the state, and whose public methods are the operations: they
        take the input, converted to the annotation, and the context where a parameter is annotated `EntityContext`.
        `delete` removes the state, unless the class has a method of that name.

        Plain functions run in threads, `async def` on the event loop. Raises `ConfigurationError` when the name is taken,
        or it cannot be an entity.
        """

        def register(target: Callable[..., Any]) -> Any:
            entity = make_entity(_checked_name(name or target.__name__).casefold(), target)
            self._add(self._entities, "entity", entity)
            return target

        return register if target is None else register(target)

    def register_blueprint(self, blueprint: "Blueprint") -> None:
        """Take over everything that `blueprint` holds now. Raises `ConfigurationError` when a name is taken."""
        for orchestrator in blueprint.orchestrators.values():
            self._add(self._orchestrators, "orchestrator", orchestrator)
        for activity in blueprint.activities.values():
            self._add(self._activities, "activity", activity)
        for entity in blueprint.entities.values():
            self._add(self._entities, "entity", entity)

    def _add(self, table: dict[str, Any], kind: str, entry: RegisteredOrchestrator | Activity | Entity) -> None:
        taken = table.get(entry.name)
        if taken is not None and taken.function is not entry.function:
            raise ConfigurationError(
                f"There is already an {kind} named {entry.name!r}, in {taken.function.__module__}. "
                f"Give one of them another name: @app.{kind}(name=…)."
            )
        table[entry.name] = entry


class App(Blueprint):
    """An application: what a hub runs.

    `version` is given to new instances that are started without one; they see it as `context.version`.
    With `rolls_back_entities` an entity's operation that raises changes nothing: neither the state, nor whom it signalled.
    """

    def __init__(self, *, version: str | None = None, rolls_back_entities: bool = True) -> None:
        super().__init__()
        self.version = version
        self.rolls_back_entities = rolls_back_entities


def _name(function: Callable[..., Any], name: str | None) -> str:
    chosen = _checked_name(name or function.__name__)
    setattr(function, NAME_ATTRIBUTE, chosen)
    return chosen


def _checked_name(name: str) -> str:
    if not name.isprintable() or "/" in name:
        raise ConfigurationError(f"{name!r} cannot be a name: it has a slash or a character that does not print.")
    return name


def _check_orchestrator(function: Callable[..., Any]) -> None:
    if inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"{function.__qualname__} is an async generator. Write 'async def' with 'await', or 'def' with 'yield'."
        )
    if not inspect.signature(function).parameters:
        raise ConfigurationError(f"Orchestrator {function.__qualname__} must take the context as its argument.")


def _check_process(function: Callable[..., Any]) -> None:
    what = f"Activity {getattr(function, '__qualname__', function)!r}"
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(
            f"{what} is 'async def', and runs on the event loop; write 'def', or leave process out."
        )
    check_is_importable(function, what)


def _check_activity(function: Callable[..., Any]) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"Activity {function.__qualname__} is a generator; an activity returns one value.")
    required = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind not in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    ]
    if len(required) > 1:
        raise ConfigurationError(
            f"Activity {function.__qualname__} wants {len(required)} arguments, and gets one, its input. "
            "Pass a list, a dict or a dataclass."
        )
