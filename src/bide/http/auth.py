"""Who may: a key for programs, and same-origin rules for browsers.

Without a key the machine is the border: only requests addressed to it by a loopback name are answered, so that a page
whose name was pointed at 127.0.0.1 (DNS rebinding) reads nothing. What a page of another origin sends by itself (a form,
`fetch` without CORS) may change nothing, with a key or without.
"""

import hmac
import ipaddress
from collections.abc import Callable, Mapping

from bide.client.paths import KEY_HEADER
from bide.errors import ConfigurationError, UnauthorizedError

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_PAGES = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site, which no page can forge: the hub's own page, and what a user typed or opened."""

Opens = Callable[[str], bool]
"""Tells whether a key opens the door; an empty text stands for none."""


class ForbiddenError(UnauthorizedError):
    """A browser page from elsewhere tries to use the hub."""


def key_check(key: str) -> Opens:
    """Make a check for one key, in constant time. Raises `ConfigurationError` for an empty one, which all requests have."""
    if not key:
        raise ConfigurationError("The key is empty: choose one that nobody guesses, or give none (--key, BIDE_KEY).")
    expected = key.encode()
    return lambda given: hmac.compare_digest(given.encode(), expected)


def given_key(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """Return the key that a request brings: `?code=…`, or the header x-functions-key; else an empty text."""
    return query.get("code") or headers.get(KEY_HEADER) or ""


def check(method: str, headers: Mapping[str, str], query: Mapping[str, str], opens: Opens | None) -> None:
    """Raise `UnauthorizedError` unless the request may pass; without `opens` none but this machine's may."""
    if opens is None:
        check_host(headers)
    elif not opens(key := given_key(headers, query)):
        raise UnauthorizedError(
            "The key is wrong." if key else "A key is needed: ?code=… or the header x-functions-key."
        )
    if method not in _SAFE_METHODS:
        _check_origin(headers)


def check_host(headers: Mapping[str, str]) -> None:
    """Raise `ForbiddenError` unless the request is addressed to a loopback name. No browser leaves Host out."""
    host = headers.get("host", "")
    if host and not is_loopback(_name(host)):
        raise ForbiddenError(
            f"Without a key only requests to localhost are served, not to {host!r:.200}. Serve with a key (--key or "
            "BIDE_KEY), or call it as http://127.0.0.1:PORT."
        )


def check_page(headers: Mapping[str, str]) -> None:
    """Raise `ForbiddenError` for what a page that is not of this machine sends by itself. Following a link is no such thing."""
    origin = headers.get("origin")
    if origin is not None:
        is_foreign = not is_loopback(_name(_host_of(origin)))
    else:
        is_foreign = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
    if is_foreign:
        raise ForbiddenError(f"Without keys requests from the page {origin or 'of another site'!r:.200} are refused.")


def _check_origin(headers: Mapping[str, str]) -> None:
    """Refuse what comes from a page of another origin. Sec-Fetch-Site knows better than Host, which proxies change."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site is not None:
        is_foreign = site not in _OWN_PAGES
    else:
        is_foreign = origin is not None and (not _host_of(origin) or _host_of(origin) != headers.get("host"))
    if is_foreign:
        raise ForbiddenError(f"Requests from the page {origin or 'of another site'!r:.200} are refused.")


def _host_of(origin: str) -> str:
    """Host and port of an origin; nothing for the origin `null`."""
    return origin.partition("://")[2]


def is_loopback(host: str) -> bool:
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """Cut the port off."""
    return host if host.endswith("]") else host.rpartition(":")[0] or host
