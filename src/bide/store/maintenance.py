"""Looks after stores that are named by their URL: brings them up to date, checks them, copies one into another."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bide.errors import BideError, ConfigurationError, StoreCorruptError
from bide.store import copying
from bide.store.checking import Judge, Report
from bide.store.copying import Progress, Source, Target
from bide.store.sqlite import check as check_file
from bide.store.sqlite import upgrade as upgrade_file
from bide.store.sqlite.copying import SqliteSource, SqliteTarget
from bide.store.urls import hide_password, is_postgres, needing_postgres, sqlite_path


async def upgrade(url: str) -> tuple[int, int]:
    """Bring a store up to date; return its schema version before and after. Raises what opening it raises."""
    path = sqlite_path(url)
    if path is not None:
        return upgrade_file(path)
    _check_url(url)
    with needing_postgres():
        from bide.store.postgres.schema import upgrade as upgrade_schema  # noqa: PLC0415  (an extra)
    return await upgrade_schema(url)


async def check(url: str, judge: Judge) -> Report:
    """Prove that a store agrees with itself. Nobody may be using a file; a database is read in one snapshot.

    Raises what opening it raises, and `StoreVersionError` unless the schema is this bide's.
    """
    path = sqlite_path(url)
    if path is not None:
        return check_file(path, judge)
    _check_url(url)
    with needing_postgres():
        from bide.store.postgres.check import check as check_schema  # noqa: PLC0415  (an extra)
    return await check_schema(url, judge)


async def copy(source: str, target: str, progress: Progress) -> dict[str, int]:
    """Copy all that a store holds into an empty one; return how many rows of each table.

    Nobody may be using either (`StoreLockedError`). See `bide.store.copying.copy`.
    """
    if source == target:
        raise ConfigurationError("A store cannot be copied into itself.")
    async with _opened_source(source) as reading, _opened_target(target) as writing:
        try:
            return await copying.copy(reading, writing, progress)
        except BideError:
            raise
        except (ValueError, TypeError) as error:
            raise StoreCorruptError(
                f"{hide_password(source)} has a row that cannot be read: {error}. Nothing was copied; 'bide db check' names it."
            ) from error


@asynccontextmanager
async def _opened_source(url: str) -> AsyncIterator[Source]:
    path = sqlite_path(url)
    source: Source
    if path is not None:
        source = SqliteSource(path)
    else:
        _check_url(url)
        with needing_postgres():
            from bide.store.postgres.copying import PostgresSource  # noqa: PLC0415  (an extra)
        source = await PostgresSource.open(url)
    try:
        yield source
    finally:
        await source.close()


@asynccontextmanager
async def _opened_target(url: str) -> AsyncIterator[Target]:
    path = sqlite_path(url)
    target: Target
    if path is not None:
        target = SqliteTarget(path)
    else:
        _check_url(url)
        with needing_postgres():
            from bide.store.postgres.copying import PostgresTarget  # noqa: PLC0415  (an extra)
        target = await PostgresTarget.open(url)
    try:
        yield target
    finally:
        await target.close()


def _check_url(url: str) -> None:
    if not is_postgres(url):
        raise ConfigurationError(
            f"{url!r} is not a store that lasts: sqlite:///file.db or postgresql://user@host/database"
        )
