"""Where instances live: the `Store` seam, and the stores behind it."""

from pathlib import Path

from bide.errors import ConfigurationError
from bide.store.base import Store
from bide.store.memory import MemoryStore
from bide.store.sqlite import SqliteStore

__all__ = ["MemoryStore", "SqliteStore", "Store", "open_store"]

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


def open_store(url: str) -> Store:
    """Make the store that `url` names; it is not opened yet.

    `sqlite:///bide.db` is relative to the working directory, `sqlite:////var/lib/bide.db` absolute; `memory:` keeps everything in
    memory and forgets it at the end; `postgresql://user@host/database` is for several nodes (its options stand in
    `bide.store.postgres.options`). Raises `ConfigurationError` for anything else, and when the library for it is missing.
    """
    if url == "memory:":
        return MemoryStore()
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return SqliteStore(Path(url.removeprefix(_SQLITE)))
    if url.startswith(_POSTGRES):
        return _open_postgres(url)
    raise ConfigurationError(
        f"{url!r} is not a store: use sqlite:///file.db (relative), sqlite:////path/file.db (absolute), "
        "postgresql://user@host/database or memory:"
    )


def _open_postgres(url: str) -> Store:
    try:
        from bide.store.postgres import PostgresStore  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise ConfigurationError(
            f"A store on PostgreSQL needs {error.name or error}, which is not installed: pip install 'bide[postgres]'"
        ) from error
    return PostgresStore(url)
