"""Reading request URLs as the extension does: words and keys without regard to case, lenient booleans and times."""

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

from bide.client.paths import BASE

_KNOWN_KEYS = frozenset({"code", "taskhub", "connection"})

Query = Mapping[str, str]
"""Query parameters by lower-case key; of repeated keys the values are joined by a comma."""


def segments(raw_path: bytes, query: bytes) -> tuple[list[str] | None, bytes]:
    """Split the path below the API's base into decoded segments; None when it is not below it.

    Cut first, decode then: a name may hold an encoded slash, and `+` stays a plus. Where `&code=…` follows the
    last segment and there is no `?` (as in the URL of Microsoft's article on external events), it counts as the query.
    """
    path = raw_path.decode("latin-1")
    if not query and "&" in path:
        head, _, tail = path.partition("&")
        if all(key.casefold() in _KNOWN_KEYS for key, _ in parse_qsl(tail, keep_blank_values=True)):
            path, query = head, tail.encode("latin-1")
    if not path.casefold().startswith(BASE + "/"):
        return None, query
    parts = path[len(BASE) + 1 :].split("/")
    if parts and not parts[-1]:
        parts.pop()
    return [unquote(part, errors="replace") for part in parts], query


def parse_query(query: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"):
        folded = key.casefold()
        found[folded] = f"{found[folded]},{value}" if folded in found else value
    return found


def flag(query: Query, name: str, *, default: bool) -> bool:
    """Read a boolean; anything but true and false (in any case) counts as absent."""
    return {"true": True, "false": False}.get(query.get(name.casefold(), "").casefold(), default)


def number(query: Query, name: str) -> float | None:
    try:
        value = float(query[name.casefold()])
    except (KeyError, ValueError):
        return None
    return value if 0 <= value < float("inf") else None


def time(query: Query, name: str) -> datetime | None:
    """Read a time; one that cannot be read counts as absent, one without a zone as UTC."""
    try:
        value = datetime.fromisoformat(query[name.casefold()].strip().replace(" ", "+"))
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return None
