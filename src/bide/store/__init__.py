"""Where instances live: the `Store` seam, and the stores behind it."""

from bide.errors import ConfigurationError, StoreUnavailableError
from bide.store.base import Store
from bide.store.memory import MemoryStore
from bide.store.sqlite import SqliteStore
from bide.store.urls import is_postgres, needing_postgres, sqlite_path

__all__ = ["MemoryStore", "SqliteStore", "Store", "open_store"]


def open_store(url: str, *, creates: bool = True) -> Store:
    """Make the store that `url` names; it is not opened yet.

    `sqlite:///bide.db` is relative to the working directory, `sqlite:////var/lib/bide.db` absolute; `memory:` keeps everything in
    memory and forgets it at the end; `postgresql://user@host/database` is for several nodes (its options stand in
    `bide.store.postgres.options`). Raises `ConfigurationError` for anything else, and when the library for it is missing.
    Unless it `creates`, a store that is not there is a `StoreUnavailableError`, now or when it is opened.
    """
    path = sqlite_path(url)
    if path is not None:
        if not creates and not path.exists():
            raise StoreUnavailableError(f"There is no file {path}. Is the path right?")
        return SqliteStore(path)
    if is_postgres(url):
        with needing_postgres():
            from bide.store.postgres import PostgresStore  # noqa: PLC0415  (an extra)
        return PostgresStore(url, creates=creates)
    if url == "memory:":
        return MemoryStore()
    raise ConfigurationError(
        f"{url!r} is not a store: use sqlite:///file.db (relative), sqlite:////path/file.db (absolute), "
        "postgresql://user@host/database or memory:"
    )
