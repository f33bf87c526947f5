"""Finds the `App` that a command is to run."""

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from bide.app import App, importing
from bide.errors import ConfigurationError

_OURS = ("importlib", __file__, importing.__file__)


def load_app(spec: str) -> App:
    """Load `app.py`, `folder/app.py`, `package.module`, each optionally with `:name`; or the folder of a Functions app.

    Raises `ConfigurationError` when there is no such module, when it raises, or when it does not hold exactly one app.
    """
    where, _, name = spec.partition(":")
    if Path(where).is_dir():
        from bide.functions.indexing import is_function_app  # noqa: PLC0415  (needs an extra)
        from bide.functions.loading import load_function_app  # noqa: PLC0415

        if is_function_app(Path(where)):
            return load_function_app(Path(where)).app
        raise ConfigurationError(f"{where} is a folder; name the file that holds the app, as {Path(where) / 'app.py'}.")
    if Path(where).name == "function_app.py":
        raise ConfigurationError(f"{where} is of an Azure Functions app: name its folder, {Path(where).parent}.")
    module = _load_file(Path(where)) if where.endswith(".py") else _load_module(where)
    if name:
        app = getattr(module, name, None)
        if not isinstance(app, App):
            raise ConfigurationError(f"{where} has no bide.App named {name!r}.")
        return app
    apps = {id(value): (key, value) for key, value in vars(module).items() if isinstance(value, App)}
    if len(apps) == 1:
        return next(iter(apps.values()))[1]
    if not apps:
        raise ConfigurationError(f"There is no bide.App in {where}. Write: app = bide.App()")
    names = ", ".join(key for key, _ in apps.values())
    raise ConfigurationError(f"{where} has several apps ({names}); say which: {where}:NAME")


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}.")
    _import_from(path.parent)
    try:
        return importing.load_file(path, path.stem)
    except Exception as error:
        raise ConfigurationError(f"{path} cannot be imported:\n{_user_trace(error)}") from error


def _load_module(name: str) -> ModuleType:
    _import_from(Path())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise ConfigurationError(f"{name} cannot be imported:\n{_user_trace(error)}") from error
        raise ConfigurationError(
            f"There is no folder and no module {name!r}; for a file write its name with .py"
        ) from error
    except Exception as error:
        raise ConfigurationError(f"{name} cannot be imported:\n{_user_trace(error)}") from error


def _import_from(folder: Path) -> None:
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.insert(0, path)


def _user_trace(error: Exception) -> str:
    """The user's own part of the traceback; of an error of ours the text is enough, it names the function."""
    if isinstance(error, ConfigurationError):
        return str(error)
    lines = traceback.format_exception(error)
    own = [line for line in lines if not any(name in line for name in _OURS)]
    return "".join(own).rstrip()
