"""Opens the database file, brings its schema up to date, and tells driver errors apart."""

import contextlib
import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from bide.errors import StoreCorruptError, StoreError, StoreUnavailableError, StoreVersionError
from bide.store.sqlite.ownership import Ownership

APPLICATION_ID = 0x62696465
"""`bide` in ASCII: tells our files from other SQLite files (PRAGMA application_id)."""

_PRAGMAS = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;        -- a commit is on the disk when it returns: the promise of bide
    PRAGMA wal_autocheckpoint = 0;    -- the writer checkpoints between batches, never inside a commit
    PRAGMA cache_size = -65536;       -- 64 MiB: the upper levels of the indexes of some million instances
    PRAGMA mmap_size = 268435456;     -- cold reads without a copy
    PRAGMA temp_store = MEMORY;
    PRAGMA busy_timeout = 5000;       -- for readers from outside; nobody else writes
"""


def open_database(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection with our settings; several threads may use it, one at a time."""
    with driver_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        try:
            connection.executescript(_PRAGMAS)
            if read_only:
                connection.execute("PRAGMA query_only = 1")
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def driver_errors(path: Path) -> Iterator[None]:
    """Turn errors of the driver into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except UnicodeDecodeError as error:  # SQLite's own words quote what is damaged
        raise StoreCorruptError(
            f"{path} is damaged ({error}). Restore a backup, or try 'sqlite3 FILE .recover'."
        ) from error


def explain(error: sqlite3.Error, path: Path) -> StoreError:  # noqa: PLR0911  (a table)
    """Say what a driver error means for `path`, and what to do about it."""
    if str(error).startswith("Could not decode to UTF-8"):
        return StoreCorruptError(f"{path} is damaged ({error}). 'bide db check' names the row; restore a backup.")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL:
            return StoreUnavailableError(f"The disk of {path} is full. Make room; bide goes on by itself.")
        case sqlite3.SQLITE_NOTADB:
            return StoreCorruptError(f"{path} is not an SQLite database. Name another file, or restore a backup.")
        case sqlite3.SQLITE_CORRUPT:
            return StoreCorruptError(f"{path} is damaged ({error}). Restore a backup, or try 'sqlite3 FILE .recover'.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StoreUnavailableError(f"{path} is read-only. The file and its folder must be writable.")
        case sqlite3.SQLITE_CANTOPEN:
            return StoreUnavailableError(f"{path} cannot be opened. It must be a file, in a folder that exists.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnavailableError(f"{path} is locked by another program ({error}).")
        case _:
            return StoreUnavailableError(f"{path} cannot be read or written: {error}")


def migrate(connection: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Bring the schema up to date; return the version before and after. Each step is one transaction."""
    with driver_errors(path):
        before = _version(connection, path)
        steps = _migrations()
        if before > len(steps):
            raise StoreVersionError(
                f"{path} has schema {before}, written by a newer bide; this one knows {len(steps)}. Upgrade bide."
            )
        for number, sql in enumerate(steps[before:], before + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};\nCOMMIT;"
            )
    return before, len(steps)


def upgrade(path: Path | str) -> tuple[int, int]:
    """Bring a database file up to date; return its schema version before and after.

    Raises `StoreLockedError` when a hub is using it, and what `Store.open` raises.
    """
    path = Path(path)
    if not path.exists():
        raise StoreUnavailableError(f"There is no file {path.absolute()}. Is the path right?")
    ownership = Ownership(path)
    ownership.acquire()
    try:
        connection = open_database(path)
        try:
            return migrate(connection, path)
        finally:
            connection.close()
    finally:
        ownership.release()


def version_of(connection: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Tell the schema version of a file, and the one that this bide knows."""
    return _version(connection, path), len(_migrations())


@contextlib.contextmanager
def make_schema() -> Iterator[sqlite3.Connection]:
    """Open an empty database in memory with today's schema, to compare with."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for sql in _migrations():
            connection.executescript(sql)
        yield connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application_id != APPLICATION_ID and not is_empty:
        raise StoreCorruptError(f"{path} is an SQLite database of another program. Name another file.")
    return version


def _migrations() -> list[str]:
    folder = resources.files("bide.store.sqlite") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text("utf-8") for file in files]
