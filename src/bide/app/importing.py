"""Finds a function again in another process: by module, file and name, as that process can import it.

A module that was loaded from a file (`bide serve app.py`, `python service.py`) is found by the file, under the file's name; any
other as `import` finds it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from bide.errors import ConfigurationError

_MAIN = "__main__"


class FunctionPlace(msgspec.Struct, frozen=True):
    """Where a function stands. `name` is its qualified name, `file` its module's, if that has one."""

    module: str
    file: str | None
    name: str

    def find(self) -> Callable[..., Any]:
        """Import the module and return the function. Raises whatever the module raises."""
        function: Callable[..., Any] = attrgetter(self.name)(self._module())
        return function

    def _module(self) -> ModuleType:
        known = sys.modules.get(self.module)
        if known is not None and getattr(known, "__file__", None) == self.file:
            return known
        if self.file is not None and _origin(self.module) != self.file:
            return load_file(Path(self.file), self.module)
        return importlib.import_module(self.module)


def check_is_importable(function: Callable[..., Any], what: str) -> None:
    """Raise `ConfigurationError` when no other process could import the function; `what` names it there."""
    name = getattr(function, "__qualname__", None)
    if name is None or "<" in name:
        where = "inside another function" if name is not None and "<locals>" in name else "without a name"
        raise ConfigurationError(
            f"{what} runs in worker processes, which import it, and is defined {where}. "
            "Define it with 'def' at the top level of a module."
        )
    if function.__module__ == _MAIN:
        _main_module(what)


def place_of(function: Callable[..., Any], what: str) -> FunctionPlace:
    """Say where the function stands. Raises `ConfigurationError` when something else stands there."""
    check_is_importable(function, what)
    module, file = _main_module(what) if function.__module__ == _MAIN else _named_module(function.__module__)
    name = function.__qualname__
    try:
        there = attrgetter(name)(sys.modules[function.__module__])
    except (KeyError, AttributeError):
        there = None
    if there is not function:
        raise ConfigurationError(
            f"{what} runs in worker processes, which import it, and {function.__module__}.{name} is something else. "
            "Put @app.activity above its other decorators, and give the name to nothing else."
        )
    return FunctionPlace(module, file, name)


def load_file(path: Path, name: str) -> ModuleType:
    """Run the file as module `name`. Raises whatever it raises."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _named_module(name: str) -> tuple[str, str | None]:
    return name, getattr(sys.modules.get(name), "__file__", None)


def _main_module(what: str) -> tuple[str, str | None]:
    """Return name and file under which others import the program that runs."""
    main = sys.modules[_MAIN]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None and spec.name != _MAIN:
        return spec.name, file
    if file is None or not Path(file).is_file() or Path(file).stem == _MAIN:
        raise ConfigurationError(
            f"{what} runs in worker processes, which import it, and is defined in an interactive session. "
            "Put it into a module, and import that here."
        )
    return Path(file).stem, file


def _origin(module: str) -> str | None:
    """Return the file that `import` would take."""
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):  # no such package; or a module that was made by hand
        return None
    return spec.origin if spec is not None else None
