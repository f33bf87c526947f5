"""Tells by its URL what kind of store is meant."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from bide.errors import ConfigurationError

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
_PASSWORD = re.compile(r"(?<=password=)[^&]*")


def sqlite_path(url: str) -> Path | None:
    """The file that an SQLite store's URL names; None for other stores."""
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) and len(url) > len(_SQLITE) else None


def is_postgres(url: str) -> bool:
    return url.startswith(_POSTGRES)


@contextlib.contextmanager
def needing_postgres() -> Iterator[None]:
    """Say how to install what the import inside needs."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"A store on PostgreSQL needs {error.name or error}, which is not installed: pip install 'bide[postgres]'"
        ) from error


def hide_password(url: str) -> str:
    """Return the URL as it may be shown."""
    if not is_postgres(url):
        return url
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    hidden = f"{name}:***" if colon else name
    return urlunsplit(parts._replace(netloc=f"{hidden}{at}{host}", query=_PASSWORD.sub("***", parts.query)))
