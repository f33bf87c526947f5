"""Finds an app's functions: decorators in `function_app.py`, or a folder with `function.json` for each.

A function that cannot be loaded is a `Problem`, and stops none of the others.
"""

import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func

from bide.errors import ConfigurationError
from bide.functions.function import Function, parse_bindings
from bide.functions.settings import Settings, read_json

_ROOT_PACKAGE = "__app__"
"""What the Functions worker calls the app's folder as a package, so that `from ..shared import x` works."""


@dataclass(frozen=True)
class Problem:
    """Something in the app that bide cannot run, where it is, and what to do."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def is_function_app(folder: Path) -> bool:
    """Whether a folder holds a Functions app, of either model."""
    return folder.is_dir() and (
        (folder / "host.json").is_file()
        or (folder / "function_app.py").is_file()
        or any(folder.glob("*/function.json"))
    )


def index_functions(settings: Settings) -> tuple[list[Function], list[Problem]]:
    """Import the app and list its functions. The app's folder must be importable already.

    Raises `ConfigurationError` when nothing at all can be loaded.
    """
    script = settings.root / settings.script_file
    if script.is_file():
        return _index_decorated(script), []
    functions: list[Function] = []
    problems: list[Problem] = []
    _make_root_package(settings.root)
    for path in sorted(settings.root.glob("*/function.json")):
        try:
            functions.append(_load_folder(path))
        except ConfigurationError as error:
            problems.append(Problem(f"{path.parent.name}/{path.name}", str(error)))
    if not functions and not problems:
        raise ConfigurationError(
            f"{settings.root} holds no functions: neither {settings.script_file} nor a folder with function.json."
        )
    return functions, problems


def is_disabled(name: str) -> bool:
    """Whether the setting `AzureWebJobs.NAME.Disabled` is true."""
    for key in (f"AzureWebJobs.{name}.Disabled", f"AzureWebJobs_{name}_Disabled"):
        if os.environ.get(key, "").casefold() in {"true", "1"}:
            return True
    return False


# Decorators


def _index_decorated(script: Path) -> list[Function]:
    module = _import_file(script.stem, script)
    found = {id(value): (key, value) for key, value in vars(module).items() if isinstance(value, func.FunctionRegister)}
    if len(found) != 1:
        names = " and ".join(key for key, _ in found.values()) or "none"
        raise ConfigurationError(f"{script.name} must hold exactly one FunctionApp (or DFApp); found {names}.")
    [(_, app)] = found.values()
    try:
        indexed = app.get_functions()
    except Exception as error:
        raise ConfigurationError(f"{script.name} cannot be indexed: {error}") from error
    return [_decorated(each, script) for each in indexed]


def _decorated(indexed: Any, script: Path) -> Function:
    name = indexed.get_function_name()
    where = f"{script.name}, {name}"
    bindings = [json.loads(binding) for binding in indexed.get_raw_bindings()]
    call = indexed.get_user_function()
    return Function(name, call, parse_bindings(bindings, where), where, script.parent, is_disabled(name))


# Folders


def _make_root_package(root: Path) -> None:
    package = ModuleType(_ROOT_PACKAGE)
    package.__path__ = [str(root)]
    sys.modules[_ROOT_PACKAGE] = package


def _load_folder(path: Path) -> Function:
    """Load one function. Raises `ConfigurationError`, whatever is wrong with it."""
    document = read_json(path)
    folder, name = path.parent, path.parent.name
    bindings = parse_bindings(document.get("bindings"), path.name)
    script = _text(document, "scriptFile", "__init__.py")
    entry_point = _text(document, "entryPoint", "main")
    call = getattr(_import_folder(name, folder / script), entry_point, None)
    if not callable(call):
        raise ConfigurationError(f"{script} has no function {entry_point!r}, which entryPoint names.")
    disabled = document.get("disabled") is True or is_disabled(name)
    return Function(name, call, bindings, f"{name}/{path.name}", folder, disabled)


def _text(document: dict[str, Any], key: str, default: str) -> str:
    value = document.get(key, default)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{key} must be text, not {value!r:.100}.")
    return value


def _import_folder(name: str, file: Path) -> ModuleType:
    if not file.is_file():
        raise ConfigurationError(f"there is no file {file.name}, which scriptFile names.")
    if file.name == "__init__.py":
        return _guarded(f"{_ROOT_PACKAGE}.{name}", file)
    relative = file.resolve().relative_to(Path(sys.modules[_ROOT_PACKAGE].__path__[0]).resolve())
    return _guarded(".".join((_ROOT_PACKAGE, *relative.with_suffix("").parts)), file)


def _guarded(module: str, file: Path) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ConfigurationError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigurationError(_import_failed(file, error)) from error


def _import_file(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ConfigurationError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigurationError(_import_failed(file, error)) from error
    return module


def _import_failed(file: Path, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{file.name} needs the module {error.name!r}, which is not installed: pip install -r requirements.txt"
    return f"{file.name} cannot be imported:\n{''.join(_own_lines(error)).rstrip()}"


def _own_lines(error: BaseException) -> Iterator[str]:
    for line in traceback.format_exception(error):
        if "importlib" not in line and __file__ not in line:
            yield line
