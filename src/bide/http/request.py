"""One HTTP request, as the handlers need it, and the answer they give."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bide.errors import InvalidInputError, PayloadTooLargeError
from bide.http.payloads import encode
from bide.http.urls import parse_query, segments

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ClientGoneError(InvalidInputError):
    """Nobody is there any more to hear the answer."""


@dataclass(slots=True)
class Request:
    """`parts` are the path segments below the API's base, None outside of it; header names are lower-case.

    `origin` is what management URLs begin with: scheme, host, and where the app is mounted.
    """

    method: str
    origin: str
    path: str
    parts: list[str] | None
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    path_values: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, scope: Scope) -> "Request":
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        root: str = scope.get("root_path", "")
        if root and raw.startswith(root.encode()):
            raw = raw[len(root.encode()) :]
        parts, query = segments(raw, scope.get("query_string", b""))
        headers = _headers(scope["headers"])
        origin = f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}{root}"
        return cls(scope["method"], origin, raw.decode("latin-1"), parts, parse_query(query), headers)

    @property
    def is_json(self) -> bool:
        """Whether the media type is application/json, with or without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().casefold() == "application/json"

    def text(self) -> str:
        """Return the body as text; `InvalidInputError` when it is not UTF-8."""
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"The body must be UTF-8 text: {error}") from error

    def json(self) -> msgspec.Raw | None:
        """Return the body as checked, undecoded JSON, to be stored as it came; None for an empty one.

        Raises `InvalidInputError` when it is not JSON.
        """
        if not self.body or self.body.isspace():
            return None
        try:
            msgspec.json.decode(self.body)
            self.body.decode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(f"Invalid JSON content: {error}") from error
        return msgspec.Raw(self.body)


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Read headers; values of a repeated one are joined by a comma (RFC 9110, 5.3): two Hosts are none that is known."""
    headers: dict[str, str] = {}
    for raw, value in pairs:
        name = raw.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


@dataclass(slots=True)
class Response:
    """`body` is a value to be written as JSON, or bytes as they are; no bytes, no content type."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, send: Send) -> None:
        data = self.body if isinstance(self.body, bytes) else encode(self.body)
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in self.headers.items()]
        headers.append((b"content-length", str(len(data)).encode()))
        if data:
            headers.append((b"content-type", b"application/json; charset=utf-8"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": data})


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read the whole body. Raises `PayloadTooLargeError` as soon as it is longer than `limit`."""
    chunks: list[bytes] = []
    size = 0
    is_open = True
    while is_open and size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("The client went away before the whole body was there.")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        is_open = message.get("more_body", False)
    if size > limit:
        raise PayloadTooLargeError("The request's body", size, limit)
    return b"".join(chunks)
