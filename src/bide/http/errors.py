"""How an error looks over HTTP.

Bodies have the extension's keys; the Python SDK reads `ExceptionMessage`, so it is always there. Never plain text: that
SDK parses every body as JSON.
"""

import logging
from typing import Any

from bide.client.paths import ERROR_HEADER
from bide.errors import (
    BideError,
    HubBusyError,
    HubClosedError,
    InstanceEndedError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStateError,
    InvalidInputError,
    PayloadTooLargeError,
    StoreError,
    UnauthorizedError,
)
from bide.http.payloads import encode

_log = logging.getLogger("bide.http")

Answer = tuple[int, bytes, dict[str, str]]
"""Status code, body, headers."""

_CODES: tuple[tuple[type[BideError], int], ...] = (
    (PayloadTooLargeError, 413),
    (InvalidInputError, 400),
    (InstanceNotFoundError, 404),
    (InstanceEndedError, 410),
    (InstanceExistsError, 409),
    (InstanceStateError, 412),
    (UnauthorizedError, 401),
    (StoreError, 503),
    (HubBusyError, 429),
    (HubClosedError, 503),
    (BideError, 500),
)
_WITHOUT_BODY = frozenset({404, 410})


def answer_to(error: Exception) -> Answer:
    """Choose status code and body for an error; what is not ours is logged and hidden."""
    if not isinstance(error, BideError):
        _log.error("unexpected error in a request", exc_info=error)
        return 500, body_of("Something went wrong inside bide; its log says what.", type(error).__name__), {}
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    body = b"" if code in _WITHOUT_BODY else body_of(str(error), type(error).__name__, _details(error))
    headers = {ERROR_HEADER: type(error).__name__}
    if isinstance(error, HubBusyError):
        headers["retry-after"] = "1"
    if isinstance(error, InstanceEndedError):
        headers["x-bide-status"] = error.runtime_status
    return code, body, headers


def body_of(message: str, kind: str, details: dict[str, Any] | None = None) -> bytes:
    return encode(
        {"Message": message, "ExceptionMessage": message, "ExceptionType": kind, "StackTrace": None} | (details or {})
    )


def _details(error: BideError) -> dict[str, Any]:
    """Attributes of the error, from which our client makes it again."""
    return {"Details": {key: list(value) if isinstance(value, tuple) else value for key, value in vars(error).items()}}
