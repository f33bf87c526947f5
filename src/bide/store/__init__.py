"""Where instances live: the `Store` seam, and the stores behind it."""

from pathlib import Path

from bide.errors import ConfigurationError
from bide.store.base import Store
from bide.store.memory import MemoryStore
from bide.store.sqlite import SqliteStore

__all__ = ["MemoryStore", "SqliteStore", "Store", "open_store"]

_SQLITE = "sqlite:///"


def open_store(url: str) -> Store:
    """Make the store that `url` names; it is not opened yet.

    `sqlite:///bide.db` is relative to the working directory, `sqlite:////var/lib/bide.db` absolute; `memory:` keeps everything in
    memory and forgets it at the end. Raises `ConfigurationError` for anything else.
    """
    if url == "memory:":
        return MemoryStore()
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return SqliteStore(Path(url.removeprefix(_SQLITE)))
    if url.startswith(("postgresql:", "postgres:")):
        raise ConfigurationError("PostgreSQL is not supported by this version of bide; use sqlite:///file.db.")
    raise ConfigurationError(
        f"{url!r} is not a store: use sqlite:///file.db (relative), sqlite:////path/file.db (absolute) or memory:"
    )
