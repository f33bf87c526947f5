"""Bytes and text: history turns as MessagePack, payloads as JSON.

MessagePack holds a payload's JSON text as it came, without escaping it. Both formats are msgspec's.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from bide.errors import PayloadNotSerializableError, PayloadTooLargeError
from bide.model.events import AnyEvent, HistoryEvent


def _encode_foreign(value: Any) -> Any:
    if is_pydantic_model(type(value)):
        return msgspec.Raw(value.model_dump_json().encode())
    raise TypeError(f"{type(value).__qualname__} is not a JSON type")


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(list[AnyEvent])
_json = msgspec.json.Encoder(enc_hook=_encode_foreign)
_json_decoder = msgspec.json.Decoder()

_DEEPEST = 256
"""How deep a payload may be nested. Decoders are recursive, and may start deep in somebody's stack."""
_BRACKET = re.compile(rb'"(?:\\.|[^"\\])*"|([\[{])|([\]}])')


def encode_turn(events: Sequence[HistoryEvent]) -> bytes:
    return _encoder.encode(events)


def decode_turn(data: bytes) -> list[HistoryEvent]:
    """Raise `msgspec.DecodeError` when `data` is not a turn."""
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise msgspec.DecodeError(str(error)) from error


UNREADABLE = (UnicodeDecodeError, RecursionError, TypeError)
"""What msgspec's decoders raise besides `DecodeError`: for text that is not UTF-8, for what is nested too deep or is no key."""


def encode_payload(value: Any, what: str = "The payload", limit: int | None = None) -> str | None:
    """Write `value` as JSON text; `None` stays `None`.

    Takes what msgspec takes (builtins, dataclasses, Structs, enums, datetimes, UUIDs, Decimals, bytes as base64 …)
    and pydantic models. `what` names the value in errors; `limit` is in bytes.

    Raises `PayloadNotSerializableError` (also when nested deeper than 256 levels) and `PayloadTooLargeError`.
    """
    if value is None:
        return None
    try:
        data = _json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PayloadNotSerializableError(f"{what} cannot be written as JSON: {error}") from error
    if limit is not None and len(data) > limit:
        raise PayloadTooLargeError(what, len(data), limit)
    if data.count(b"[") + data.count(b"{") > _DEEPEST and _depth(data) > _DEEPEST:
        raise PayloadNotSerializableError(f"{what} is nested deeper than {_DEEPEST} levels.")
    return data.decode()


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for match in _BRACKET.finditer(data):
        depth += bool(match[1]) - bool(match[2])
        deepest = max(deepest, depth)
    return deepest


def decode_payload(text: str | None, into: Any = None) -> Any:
    """Read JSON text, converted to the type `into` when one is given; blank text and `None` are `None`.

    Raises `ValueError` that says what does not fit, and where.
    """
    if into is None or into is Any:
        return _json_decoder.decode(text) if text and not text.isspace() else None
    if is_pydantic_model(into):
        return into.model_validate_json(text or "null")
    return msgspec.json.decode(text or "null", type=into)


def is_pydantic_model(cls: Any) -> bool:
    """Tell without importing pydantic, which is optional."""
    return isinstance(cls, type) and hasattr(cls, "model_validate_json") and hasattr(cls, "model_json_schema")


def iso_time(value: datetime) -> str:
    """Write a UTC time as `2026-01-31T09:00:00.000000Z`."""
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
