"""Loads an app's folder: settings, packages, functions; and makes an app for the engine of the durable ones."""

import contextlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import bide
from bide.app.registry import RegisteredOrchestrator
from bide.errors import ConfigurationError
from bide.functions import durable, requirements, sdk
from bide.functions.durable import entity, http, orchestrator
from bide.functions.durable.bridge import Bridge
from bide.functions.durable.handles import user_function
from bide.functions.durable.payload import raw, text_of
from bide.functions.function import DURABLE_CLIENTS, RETURN, Binding, Function
from bide.functions.indexing import Problem, index_functions
from bide.functions.invocation import Invocation, JsonValue
from bide.functions.settings import Settings, read_settings
from bide.functions.user_code import UserCode

T = TypeVar("T")

_log = logging.getLogger("bide.functions")

DEFAULT_THREADS = 32
_TRIGGERS = frozenset({"httptrigger", "timertrigger", "queuetrigger"})
_DURABLE = frozenset({"orchestrationtrigger", "activitytrigger", "entitytrigger"})
_INPUTS = DURABLE_CLIENTS
_OUTPUTS = frozenset({"http", "queue"})


@dataclass
class FunctionApp:
    """A loaded app. `app` is what the hub runs; `functions` are those with a trigger of the host's own."""

    settings: Settings
    app: "DurableApp"
    functions: list[Function]
    problems: list[Problem] = field(default_factory=list)
    threads: int = DEFAULT_THREADS

    def with_trigger(self, kind: str) -> list[Function]:
        return [function for function in self.functions if function.trigger.type == kind]


class DurableApp(bide.App):
    """The app's orchestrators, activities and entities. Azure finds them by name without regard to case, and so does this.

    `code`, `bridge`, `client_text` and `deliver` are the host's, while it runs.
    """

    def __init__(self, *, is_v1: bool, uses_sdk: bool = False, rolls_back_entities: bool = True) -> None:
        super().__init__(rolls_back_entities=rolls_back_entities)
        self.is_v1 = is_v1
        self._uses_sdk = uses_sdk
        self.code: UserCode | None = None
        self.bridge: Bridge | None = None
        self.client_text: Callable[[], str] = str
        self.deliver: Any = None

    @property
    def orchestrators(self) -> Mapping[str, Any]:
        return _Folded(super().orchestrators)

    @property
    def activities(self) -> Mapping[str, Any]:
        return _Folded(super().activities)

    def add_orchestrator(self, function: Function) -> None:
        name, call = function.durable_name, function.call
        if inspect.iscoroutinefunction(user_function(call)):
            raise ConfigurationError(
                "an orchestrator of a Functions app is a generator: write def with yield, not async def"
            )
        adapted = sdk.adapt(name, call) if self._uses_sdk else self._own(name, call)
        entry = RegisteredOrchestrator(name, adapted, newest_wait_first=self.is_v1)
        self._add(self._orchestrators, "orchestrator", entry)

    def _own(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        return orchestrator.adapt(name, user_function(call), is_v1=self.is_v1)

    def add_activity(self, function: Function) -> None:
        adapted = self._async_activity(function) if function.is_async else self._plain_activity(function)
        self.activity(name=function.durable_name)(adapted)

    def add_entity(self, function: Function) -> None:
        if self._uses_sdk:
            adapted = sdk.adapt_entity(function.call)
        else:
            adapted = entity.adapt(user_function(function.call), is_v1=self.is_v1)
        self.entity(name=function.durable_name)(adapted)

    def _plain_activity(self, function: Function) -> Any:
        def run(payload: msgspec.Raw) -> Any:
            invocation = Invocation(function, JsonValue(text_of(payload)))
            with _logged(function):
                invocation.returned = function.call(**invocation.arguments(self.client_text()))
            if invocation.values():
                assert self.bridge is not None
                self.bridge.call_and_wait(self.deliver(invocation))
            return raw(invocation.returned)

        return run

    def _async_activity(self, function: Function) -> Any:
        async def run(payload: msgspec.Raw) -> Any:
            assert self.code is not None
            invocation = Invocation(function, JsonValue(text_of(payload)))
            with _logged(function):
                await invocation.run(self.code, self.client_text())
            await self.deliver(invocation)
            return raw(invocation.returned)

        return run


@contextlib.contextmanager
def _logged(function: Function) -> Iterator[None]:
    try:
        yield
    except Exception:
        _log.exception("%s failed", function.where)
        raise


_HIDDEN = "BuiltIn__"
"""What the names of our own begin with; found, and not listed."""


class _Folded(Mapping[str, T]):
    """A mapping that finds names in any case; what it lists is spelt as registered."""

    def __init__(self, entries: Mapping[str, T]) -> None:
        self._entries = entries
        self._names = {name.casefold(): name for name in entries}

    def __getitem__(self, name: str) -> T:
        return self._entries[self._names[name.casefold()]]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._entries if not name.startswith(_HIDDEN))

    def __len__(self) -> int:
        return len(self._entries)


def load_function_app(root: Path, *, uses_sdk: bool = False) -> FunctionApp:
    """Load the app in a folder, which becomes the working directory and the first place to import from.

    With `uses_sdk` the released azure-functions-durable 1.x, installed beside, takes the place of bide's own module.
    What cannot run here is listed in `problems`. Raises `ConfigurationError` when nothing can.
    """
    root = root.resolve()
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    settings = read_settings(root)
    problems = [Problem("host.json", note) for note in settings.notes]
    remark = requirements.use_environment(root)
    if remark is not None:
        problems.append(Problem(str(root), remark))
    absent = requirements.missing(root)
    if absent:
        problems.append(
            Problem("requirements.txt", f"not installed: {', '.join(absent)}; pip install -r requirements.txt")
        )
    if uses_sdk:
        sdk.require()
    else:
        durable.install()
    try:
        indexed, unloaded = index_functions(settings)
    except ConfigurationError as error:
        hint = f"\n{problems[-1]}" if absent else ""
        raise ConfigurationError(f"{error}{hint}") from error
    app = DurableApp(
        is_v1=uses_sdk or requirements.wants_v1(root),
        uses_sdk=uses_sdk,
        rolls_back_entities=settings.rolls_back_entities,
    )
    loaded = FunctionApp(settings, app, [], problems + unloaded, _threads(settings))
    http.register(loaded.app, settings.http_poll)
    for function in indexed:
        _admit(loaded, function)
    return loaded


def _threads(settings: Settings) -> int:
    wished = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT", "")
    threads = int(wished) if wished.isdigit() and int(wished) > 0 else DEFAULT_THREADS
    return min(threads, settings.max_activities or threads)


def _admit(loaded: FunctionApp, function: Function) -> None:
    """Take a function in, or note why not."""
    if function.is_disabled:
        loaded.problems.append(Problem(function.where, "is disabled"))
        return
    for binding in function.bindings:
        problem = _unsupported(binding) or _unmatched(binding, function)
        if problem is not None:
            loaded.problems.append(Problem(function.where, problem))
    try:
        match function.trigger.type:
            case "orchestrationtrigger":
                loaded.app.add_orchestrator(function)
            case "activitytrigger":
                loaded.app.add_activity(function)
            case "entitytrigger":
                loaded.app.add_entity(function)
            case kind if kind in _TRIGGERS:
                loaded.functions.append(function)
    except ConfigurationError as error:
        loaded.problems.append(Problem(function.where, str(error)))


def _unmatched(binding: Binding, function: Function) -> str | None:
    """Say when the code has no parameter of the binding's name; durable functions get theirs by position."""
    by_position = function.trigger.type in {"orchestrationtrigger", "entitytrigger"}
    kinds = {parameter.kind for parameter in function.parameters.values()}
    if by_position or binding.name == RETURN or inspect.Parameter.VAR_KEYWORD in kinds:
        return None
    if binding.name in function.parameters:
        return None
    names = ", ".join(function.parameters) or "none"
    return f"its code has no parameter {binding.name!r}, which a binding names; it has: {names}"


def _unsupported(binding: Binding) -> str | None:
    kind = binding.values.get("type", binding.type)
    if binding.is_trigger:
        if binding.type in _TRIGGERS | _DURABLE:
            return None
        close = get_close_matches(binding.type, _TRIGGERS | _DURABLE, n=1)
        hint = f"did you mean {close[0]}?" if close else "Call it from an HTTP, timer or queue function instead."
        return f"bide has no {kind}; the function is skipped. {hint}"
    if binding.direction == "out":
        return (
            None
            if binding.type in _OUTPUTS
            else f"bide has no {kind} output; what is set on {binding.name!r} is logged and dropped"
        )
    return None if binding.type in _INPUTS else f"bide has no {kind} input; {binding.name!r} is None"
