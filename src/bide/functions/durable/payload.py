"""JSON as azure-functions-durable writes and reads it: the standard library's, with classes that have `to_json`/`from_json`.

The text goes through the engine as it is (`msgspec.Raw`), so that a payload has one form on the way in and out.
"""

import json
from typing import Any

import msgspec
from azure.functions._durable_functions import df_dumps, df_loads

_SURROGATE = "\\ud"
_ENVELOPE = '"__class__"'
"""What marks an object of a user's class in JSON text."""


def dumps(value: Any) -> str:
    """Write a value. Raises `TypeError` or `ValueError` when it is not JSON and has no `to_json`."""
    try:
        text = json.dumps(value, allow_nan=False)
    except TypeError:
        text = str(df_dumps(value))
    if _SURROGATE in text:
        msgspec.json.decode(text)  # half of a pair: no JSON that anybody else could read
    return text


def loads(text: str | None, expected_type: Any = None) -> Any:
    """Read JSON text; None and empty text are None."""
    if not text:
        return None
    if expected_type is not None or _ENVELOPE in text:
        return df_loads(text, expected_type)
    return json.loads(text)


def raw(value: Any) -> msgspec.Raw | None:
    """Write a value in the form that the engine stores as it is."""
    return None if value is None else msgspec.Raw(dumps(value).encode())


def text_of(value: Any) -> str | None:
    """Return the JSON text of a payload that the engine handed over as `msgspec.Raw`."""
    if value is None:
        return None
    text = bytes(value).decode()
    return None if text == "null" else text


def loads_input(text: str | None, expected_type: Any = None, *, is_v1: bool) -> Any:
    """Read an input; with 1.x rules the second layer of JSON is taken off, that its client and `raw_input` add."""
    value = loads(text, None if is_v1 else expected_type)
    if is_v1 and isinstance(value, str) and value:
        try:
            return loads(value, expected_type)
        except ValueError:
            return value  # it came by the HTTP API, which adds none
    return value


def raw_input(value: Any, *, is_v1: bool) -> msgspec.Raw | None:
    """Write an input; with 1.x rules text gets the second layer of JSON that `loads_input` takes off again."""
    return raw(dumps(value)) if is_v1 and isinstance(value, str) else raw(value)
