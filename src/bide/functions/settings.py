"""An app's settings: `host.json`, `local.settings.json` and the environment, read as the Functions host reads them."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from bide.errors import ConfigurationError
from bide.http.server import DEFAULT_PORT

_HOST_PREFIX = "AzureFunctionsJobHost__"
_COMMENT_OR_STRING = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_SETTING = re.compile(r"%([^%\s]+)%")


_HOURS_A_DAY = 24
_LARGEST = 2**31 - 1
"""Numbers of host.json are .NET's int."""


@dataclass(frozen=True)
class QueueSettings:
    """`extensions.queues` of host.json."""

    batch_size: int = 16
    max_dequeue_count: int = 5
    visibility_timeout: timedelta = timedelta(0)
    """How long a message that failed stays hidden before it is tried again."""
    max_polling_interval: timedelta = timedelta(seconds=2)
    is_base64: bool = True


@dataclass(frozen=True)
class Settings:
    """What of an app's settings matters to bide; `notes` are remarks for whoever started the app."""

    root: Path
    hub_name: str = "TestHubName"
    port: int = DEFAULT_PORT
    route_prefix: str = "api"
    script_file: str = "function_app.py"
    max_activities: int | None = None
    replaces_any: bool = False
    """`overridableExistingInstanceStates` is `AnyState`."""
    http_poll: timedelta = timedelta(seconds=30)
    rolls_back_entities: bool = True
    queues: QueueSettings = field(default_factory=QueueSettings)
    notes: tuple[str, ...] = ()


def read_settings(root: Path) -> Settings:
    """Read the settings of the app in `root`, and put those of local.settings.json into the environment.

    What the environment holds already wins. Raises `ConfigurationError` that names file and key.
    """
    local = _local_settings(root / "local.settings.json")
    _export(local.get("Values", {}))
    host = _host_json(root / "host.json")
    durable = _section(host, "extensions", "durableTask")
    queues = _section(host, "extensions", "queues")
    at = _Reader("host.json")
    return Settings(
        root=root,
        hub_name=resolve(at.text(durable, "hubName", "TestHubName"), "host.json, hubName"),
        port=_Reader("local.settings.json").count(_section(local, "Host"), "LocalHttpPort", DEFAULT_PORT),
        route_prefix=at.text(_section(host, "extensions", "http"), "routePrefix", "api").strip("/"),
        script_file=os.environ.get("PYTHON_SCRIPT_FILE_NAME") or "function_app.py",
        max_activities=at.count(durable, "maxConcurrentActivityFunctions", None),
        replaces_any=at.text(durable, "overridableExistingInstanceStates", "").casefold() == "anystate",
        http_poll=timedelta(
            milliseconds=at.count(_section(durable, "httpSettings"), "defaultAsyncRequestSleepTimeMilliseconds", 30_000)
        ),
        rolls_back_entities=str(durable.get("rollbackentityoperationsonexceptions")).casefold() != "false",
        queues=QueueSettings(
            batch_size=min(at.count(queues, "batchSize", 16), 32),
            max_dequeue_count=at.count(queues, "maxDequeueCount", 5),
            visibility_timeout=at.span(queues, "visibilityTimeout", timedelta(0)),
            max_polling_interval=at.span(queues, "maxPollingInterval", timedelta(seconds=2)),
            is_base64=at.text(queues, "messageEncoding", "base64").casefold() == "base64",
        ),
        notes=tuple(_notes(durable)),
    )


def resolve(text: str, where: str) -> str:
    """Replace `%NAME%` by that setting. Raises `ConfigurationError` naming `where` when it is not set."""

    def setting(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise ConfigurationError(
                f"{where} names the setting {match[1]!r}, which is not set: add it to the Values of local.settings.json."
            )
        return value

    return _SETTING.sub(setting, text)


def parse_span(text: str) -> timedelta | None:
    """Read a .NET time span, `[d.]hh:mm[:ss[.fff]]`; None when it is not one."""
    match = re.fullmatch(r"(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2}(?:\.\d+)?))?", text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = match.groups()
    if days is None and seconds is not None and int(hours) >= _HOURS_A_DAY:
        days, hours, minutes, seconds = hours, minutes, str(int(float(seconds))), "0"  # .NET reads days, hours, minutes
    try:
        return timedelta(days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float(seconds or 0))
    except OverflowError:
        return None


def read_json(path: Path) -> dict[str, Any]:
    """Read a settings file leniently: comments are passed over, and so is what follows the first value.

    Azure's own tools write and read such files. Raises `ConfigurationError` with file and line.
    """
    try:
        text = path.read_text("utf-8-sig")
        without_comments = _COMMENT_OR_STRING.sub(lambda match: match[0] if match[0][0] == '"' else " ", text)
        value, _ = json.JSONDecoder().raw_decode(without_comments.lstrip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # ValueError also for a number of too many digits
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} must hold a JSON object, not {type(value).__name__}.")
    return value


def _local_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    document = read_json(path)
    if document.get("IsEncrypted") is True:
        raise ConfigurationError(f"{path} is encrypted; run 'func settings decrypt' first.")
    if not isinstance(document.get("Values", {}), dict):
        raise ConfigurationError(f"{path}: Values must be an object.")
    return document


def _export(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, str | int | float | bool):
            try:
                os.environ.setdefault(name, str(value))
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"local.settings.json: {name!r:.100} in Values cannot be put into the environment: {error}"
                ) from error


def _host_json(path: Path) -> dict[str, Any]:
    """Read host.json, with what the environment (`AzureFunctionsJobHost__a__b`) says instead."""
    document = read_json(path) if path.is_file() else {}
    for name, value in os.environ.items():
        if name.startswith(_HOST_PREFIX):
            *folders, last = name.removeprefix(_HOST_PREFIX).split("__")
            inner = document
            for folder in folders:
                inner = inner.setdefault(folder, {}) if isinstance(inner, dict) else {}
            if isinstance(inner, dict):
                inner[last] = value
    return document


def _section(document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """Find a section, its keys folded: they match without regard to case."""
    inner: Any = document
    for key in path:
        folded = {name.casefold(): value for name, value in inner.items()} if isinstance(inner, Mapping) else {}
        inner = folded.get(key.casefold(), {})
    return {name.casefold(): value for name, value in inner.items()} if isinstance(inner, Mapping) else {}


@dataclass(frozen=True)
class _Reader:
    """Reads typed values out of sections; errors name the file and the key."""

    file: str

    def text(self, section: Mapping[str, Any], key: str, default: str) -> str:
        value = section.get(key.casefold(), default)
        if not isinstance(value, str):
            raise ConfigurationError(f"{self.file}: {key} must be text, not {value!r:.100}.")
        return value

    def count(self, section: Mapping[str, Any], key: str, default: Any) -> Any:
        value = section.get(key.casefold())
        if value is None:
            return default
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            number = -1
        if not 0 < number <= _LARGEST or isinstance(value, bool):
            raise ConfigurationError(
                f"{self.file}: {key} must be a whole number from 1 to {_LARGEST:,}, not {value!r:.100}."
            )
        return number

    def span(self, section: Mapping[str, Any], key: str, default: timedelta) -> timedelta:
        value = section.get(key.casefold())
        if value is None:
            return default
        try:
            span = timedelta(milliseconds=value) if isinstance(value, int) else parse_span(str(value))
        except OverflowError:
            span = None
        if span is None:
            raise ConfigurationError(f"{self.file}: {key} must be a time span such as 00:00:30, not {value!r:.100}.")
        return span


_IGNORED = {
    "storageProvider": "instances live in bide's store (--store)",
    "extendedSessionsEnabled": "orchestrators always stay in memory between turns",
}


def _notes(durable: Mapping[str, Any]) -> list[str]:
    return [f"durableTask.{key} has no effect: {why}" for key, why in _IGNORED.items() if key.casefold() in durable]
