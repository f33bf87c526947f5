"""What a store's URL says: where the database is, which the driver reads, and our own options, which it must not see.

`postgresql://user@host:5432/database?schema=bide`, with several hosts as `host1:5432,host2:5432`. Our options are

- `schema` (default `bide`): one hub is one schema;
- `partitions` (default 32, up to 1,024): into how many parts the instances are cut. It counts when the schema is made, and
  never changes;
- `pool` (default 5): how many connections there are for queries, besides one that commits and one that listens;
- `listen=off`: poll instead of LISTEN, for databases without it. All nodes of a hub must agree on it;
- `poll` (default 1): seconds between two looks when `listen=off`;
- `connect_timeout` (default 10): seconds.

Everything else in the query is the driver's (`sslmode`, `target_session_attrs` …), or a setting of the session
(`statement_timeout` …).
"""

import re
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from bide.errors import ConfigurationError
from bide.model.partitions import MAX_PARTITIONS
from bide.store.urls import hide_password

_LARGEST_POOL = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class Options(msgspec.Struct, frozen=True):
    """`dsn` is for the driver; `where` names host, database and schema for people, without user and password."""

    dsn: str
    where: str
    schema: str = "bide"
    partitions: int = 32
    pool: int = 5
    listens: bool = True
    poll_seconds: float = 1.0
    connect_timeout: float = 10.0
    session: frozenset[str] = frozenset()
    """Names of what else the query says: what it sets is not set again."""


def parse_url(url: str) -> Options:
    """Read a store's URL; `ConfigurationError` says what is wrong with it, without its password."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"The store's URL cannot be read: {error}") from None
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    try:
        schema = _name(query, "schema", "bide")
        partitions = _whole(query, "partitions", 32, MAX_PARTITIONS)
        pool = _whole(query, "pool", 5, _LARGEST_POOL)
        listens = _switch(query, "listen")
        poll_seconds = _seconds(query, "poll", 1.0)
        connect_timeout = _seconds(query, "connect_timeout", 10.0)
    except ConfigurationError as error:
        raise ConfigurationError(f"{hide_password(url)}: {error}") from None
    return Options(
        dsn=urlunsplit(parts._replace(query=urlencode(query))),
        where=_where(parts.netloc, parts.path, query, schema),
        schema=schema,
        partitions=partitions,
        pool=pool,
        listens=listens,
        poll_seconds=poll_seconds,
        connect_timeout=connect_timeout,
        session=frozenset(query),
    )


def _where(netloc: str, path: str, query: dict[str, str], schema: str) -> str:
    hosts = netloc.rpartition("@")[2] or query.get("host", "localhost")
    database = unquote(path.removeprefix("/")) or query.get("dbname") or query.get("database")
    return f"PostgreSQL at {unquote(hosts)} (database {database or 'of the user'}, schema {schema})"


def _name(query: dict[str, str], name: str, default: str) -> str:
    text = query.pop(name, default)
    if not _NAME.fullmatch(text):
        raise ConfigurationError(f"{name} must be a name of up to 63 letters, digits and _, not {text!r}")
    return text


def _whole(query: dict[str, str], name: str, default: int, largest: int) -> int:
    text = query.pop(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= largest:
        raise ConfigurationError(f"{name} must be a whole number from 1 to {largest:,}, not {text!r}")
    return int(text)


def _seconds(query: dict[str, str], name: str, default: float) -> float:
    text = query.pop(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:  # noqa: PLR2004  (also refuses nan)
        raise ConfigurationError(f"{name} must be a number of seconds above 0, not {text!r}")
    return seconds


def _switch(query: dict[str, str], name: str) -> bool:
    text = query.pop(name, "on")
    if text not in {"on", "off"}:
        raise ConfigurationError(f"{name} must be on or off, not {text!r}")
    return text == "on"
