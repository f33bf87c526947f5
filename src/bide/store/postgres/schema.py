"""Brings a hub's schema up to date, safely with several nodes at it.

The table `bide` has one row: which version the schema has, and from which version on a bide can work with it. Whoever
migrates locks that row. A migration says in its first line with which older bide it still works, so that old and new nodes
can run side by side while they are replaced one by one.
"""

import re
from importlib import resources

import asyncpg
import msgspec

from bide.errors import StoreCorruptError, StoreUnavailableError, StoreVersionError
from bide.store.postgres.connection import Connection, connect, driver_errors
from bide.store.postgres.options import Options, parse_url

_COMPATIBLE = re.compile(r"-- compatible: (\d+)")
_RACES = (
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateSchemaError,
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateObjectError,  # the table's row type
)
"""What IF NOT EXISTS may raise when somebody else creates the same thing at the same time."""
_TRIES = 5
_TABLE = """
    CREATE TABLE IF NOT EXISTS bide (
        one        boolean PRIMARY KEY CHECK (one),
        version    integer NOT NULL,
        compatible integer NOT NULL,  -- a bide that knows this schema, or a later one, can work with this one
        partitions integer NOT NULL
    )
"""

_ROW = "INSERT INTO bide (one, version, compatible, partitions) VALUES (true, 0, 0, $1) ON CONFLICT DO NOTHING"


class Version(msgspec.Struct, frozen=True):
    """What the row says."""

    version: int
    compatible: int
    partitions: int


async def migrate(connection: Connection, options: Options, *, creates: bool = True) -> tuple[int, Version]:
    """Bring the schema up to date; return the version before, and what it is now. Each step is one transaction.

    What is up to date is only read, so that a user without the right to create tables will do. Unless it `creates`, a schema
    that is not there is a `StoreUnavailableError`.
    """
    steps = migrations()
    before = await read_version(connection, options)
    if before is None:
        if not creates:
            raise StoreUnavailableError(f"{options.where}: there is no such schema. Is the URL right?")
        await _create(connection, options)
    now = before or Version(0, 0, options.partitions)
    check_version(now, options)
    while now.version < len(steps):
        now = await _step(connection, options)
    return before.version if before is not None else 0, now


def check_version(version: Version, options: Options) -> None:
    """Raise `StoreVersionError` when a newer bide wrote it, and not for this one."""
    known = len(migrations())
    if version.version > known and version.compatible > known:
        raise StoreVersionError(
            f"{options.where} has schema {version.version}, written by a newer bide; this one knows {known}. Upgrade bide."
        )


async def read_version(connection: Connection, options: Options) -> Version | None:
    """Read the row; None when there is no schema yet. `StoreCorruptError` for a schema of another program."""
    rows = await connection.fetch(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = $1", options.schema
    )
    tables = {name for (name,) in rows}
    if not tables:
        return None
    if "bide" not in tables:
        raise StoreCorruptError(
            f"{options.where} belongs to another program. Choose another schema= in the store's URL."
        )
    row = await connection.fetchrow("SELECT version, compatible, partitions FROM bide")
    return None if row is None else Version(*row)


async def _create(connection: Connection, options: Options) -> None:
    """Make the schema and the row that migrations lock."""
    for _ in range(_TRIES):
        try:
            if not await connection.fetchval(
                "SELECT count(*) FROM information_schema.schemata WHERE schema_name = $1", options.schema
            ):
                await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{options.schema}"')
            await connection.execute(_TABLE)
            await connection.execute(_ROW, options.partitions)
        except _RACES:
            continue
        return
    raise StoreUnavailableError(f"{options.where}: the schema is being created by others; try again.")


async def _step(connection: Connection, options: Options) -> Version:
    """Go one version on, unless somebody else has done so meanwhile; return what it is then."""
    async with connection.transaction():
        row = await connection.fetchrow("SELECT version, compatible, partitions FROM bide FOR UPDATE")
        assert row is not None, "the row is there, and nobody removes it"
        now = Version(*row)
        check_version(now, options)
        steps = migrations()
        if now.version >= len(steps):
            return now
        sql = steps[now.version]
        await connection.execute("SET LOCAL statement_timeout TO 0; SET LOCAL lock_timeout TO 0")
        await connection.execute(sql)
        after = Version(now.version + 1, _compatible(sql), now.partitions)
        await connection.execute("UPDATE bide SET version = $1, compatible = $2", after.version, after.compatible)
        return after


async def create_tables(connection: Connection, *, partitions: int) -> None:
    """Make empty tables of today's schema where the session makes tables, to compare with."""
    await connection.execute(_TABLE)
    await connection.execute(_ROW, partitions)
    for sql in migrations():
        await connection.execute(sql)


async def upgrade(url: str) -> tuple[int, int]:
    """Bring a schema up to date, or make it; return its version before and after. Raises what `Store.open` raises."""
    options = parse_url(url)
    connection = await connect(options, "migrates")
    try:
        with driver_errors(options.where):
            before, now = await migrate(connection, options)
    finally:
        connection.terminate()
    return before, now.version


def _compatible(sql: str) -> int:
    found = _COMPATIBLE.match(sql)
    assert found is not None, "a migration says so in its first line"
    return int(found[1])


def migrations() -> list[str]:
    """SQL of all steps, in order."""
    folder = resources.files("bide.store.postgres") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text("utf-8") for file in files]
