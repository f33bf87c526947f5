"""What the access log must not say: keys, which may stand in addresses."""

import logging
import re
from urllib.parse import unquote

from bide.client.paths import HOSTED_RPC

_HIDDEN = "***"
_IN_PATH = re.compile(r"(%26code%3d)[^?]*", re.IGNORECASE)
"""`…/raiseEvent/Approval&code=…`, as uvicorn quotes it."""
_SECRET_PATH = re.compile(f"^({re.escape(HOSTED_RPC)}/)[^/?]+")


def hide_keys(record: logging.LogRecord) -> bool:
    """Take the keys out of a record of uvicorn's access log, whose third argument is path and query. A filter; always True."""
    if isinstance(record.args, tuple):
        record.args = tuple(without_keys(each) if isinstance(each, str) else each for each in record.args)
    return True


def without_keys(target: str) -> str:
    path, mark, query = target.partition("?")
    path = _SECRET_PATH.sub(rf"\1{_HIDDEN}", _IN_PATH.sub(rf"\1{_HIDDEN}", path))
    return path + mark + "&".join(map(_without_key, query.split("&")))


def _without_key(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={_HIDDEN}" if equals and unquote(name.replace("+", " ")).casefold() == "code" else pair
