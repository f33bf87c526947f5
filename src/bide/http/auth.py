"""Who may: a key for programs, and same-origin rules for browsers."""

import hmac
from collections.abc import Mapping

from bide.client.paths import KEY_HEADER
from bide.errors import UnauthorizedError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class ForbiddenError(UnauthorizedError):
    """A browser page from elsewhere tries to use the hub."""


def check(method: str, headers: Mapping[str, str], query: Mapping[str, str], key: str | None) -> None:
    """Raise `UnauthorizedError` unless the request may pass. Keys are compared in constant time."""
    if key is not None:
        given = query.get("code") or headers.get(KEY_HEADER) or ""
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise UnauthorizedError("A key is needed: ?code=… or the header x-functions-key.")
    host = headers.get("host", "")
    if key is None and host and _name(host) not in _LOOPBACK:
        # DNS rebinding: a page whose name was pointed at 127.0.0.1 would be same-origin.
        raise ForbiddenError(f"Without a key only requests to localhost are served, not to {host!r}.")
    origin = headers.get("origin")
    if method not in _SAFE_METHODS and origin is not None and origin.partition("://")[2] != host:
        raise ForbiddenError(f"Requests from the page {origin!r} are refused.")


def _name(host: str) -> str:
    return host if host.endswith("]") else host.rpartition(":")[0] or host
