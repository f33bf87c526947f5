"""Opens and closes a store, and gives its parts a way to read and to write."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from bide.errors import BideError, ConfigurationError, StoreUnavailableError
from bide.store.postgres.channels import Channels
from bide.store.postgres.connection import (
    DRIVER_ERRORS,
    SILENCE_SECONDS,
    Connection,
    connect,
    connect_arguments,
    driver_errors,
    is_conflict,
    prepare,
)
from bide.store.postgres.leases import Leases
from bide.store.postgres.notices import Notices
from bide.store.postgres.options import parse_url
from bide.store.postgres.polling import Polling
from bide.store.postgres.schema import migrate
from bide.store.postgres.writer import Writer

T = TypeVar("T")
Rows = list[Any]

_log = logging.getLogger("bide.store")


class Access:
    """Base of the store's parts: a pool of connections for queries, one that writes batches, and one that listens."""

    _creates = True
    """Whether `open` makes a schema that is not there."""

    def __init__(self, url: str) -> None:
        self.options = parse_url(url)
        self.where = self.options.where
        self._channels = Channels(self.options.schema)
        self._leases = Leases(self.where)
        self._pool: asyncpg.Pool[Any] | None = None
        self._writer: Writer | None = None
        self._notices: Notices | Polling | None = None
        self._partitions = 0

    async def open(self) -> None:
        options = self.options
        connection = await connect(options, "migrates")
        try:
            with driver_errors(self.where):
                await self._check_encoding(connection)
                _, version = await migrate(connection, options, creates=self._creates)
                self._partitions = version.partitions
                self._pool = await self._open_pool()
                await self._check_pooler(connection)
        except BaseException:
            await self.close()
            raise
        finally:
            connection.terminate()
        self._writer = Writer(lambda: connect(options, "commits"), self._leases, self.where)
        self._notices = self._make_notices()

    async def _open_pool(self) -> "asyncpg.Pool[Any]":
        pool: asyncpg.Pool[Any] = await asyncpg.create_pool(
            self.options.dsn,
            min_size=0,  # to keep one, the driver would try by itself while the server is away, with a traceback in the log
            max_size=self.options.pool,
            init=self._init,
            reset=_keep,
            **connect_arguments(self.options, "reads"),
        )
        return pool

    async def _check_encoding(self, connection: Connection) -> None:
        encoding = await connection.fetchval("SELECT current_setting('server_encoding')")
        if encoding != "UTF8":
            raise ConfigurationError(f"{self.where} is in {encoding}; the database must be in UTF8.")

    async def _check_pooler(self, connection: Connection) -> None:
        """What one session sets must not be seen by another: a pooler that shares sessions would mix up ours."""
        mark = uuid.uuid4().hex
        await connection.execute("SELECT set_config('bide.session', $1, false)", mark)
        if await self._fetch("SELECT 1 WHERE current_setting('bide.session', true) = $1", mark):
            raise ConfigurationError(
                f"{self.where} is behind a connection pooler in transaction mode. Use session mode, or go to the server itself."
            )

    async def _init(self, connection: Any) -> None:
        await prepare(connection, self.options)

    async def close(self) -> None:
        notices, self._notices = self._notices, None
        writer, self._writer = self._writer, None
        pool, self._pool = self._pool, None
        if notices is not None:
            await notices.close()
        if writer is not None:
            await writer.close()
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 5)
            except (TimeoutError, *DRIVER_ERRORS):
                pool.terminate()

    async def _fetch(self, sql: str, *values: Any) -> Rows:
        """Execute one statement on the pool, a transaction of its own; the rows that it returns."""

        async def fetch() -> Rows:
            async with self._acquired() as connection:
                return await connection.fetch(sql, *values)

        return await _retried(fetch)

    async def _transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` on the pool in one transaction."""

        async def transact() -> T:
            async with self._acquired() as connection, connection.transaction():
                return await work(connection)

        return await _retried(transact)

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Connection]:
        if self._pool is None:
            raise self._closed()
        with driver_errors(self.where):
            async with self._pool.acquire(timeout=SILENCE_SECONDS) as connection:
                try:
                    yield connection  # type: ignore[misc]
                except asyncpg.ReadOnlySQLTransactionError:
                    connection.terminate()  # the next one goes to the primary
                    raise

    def _closed(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self.where} is not open.")

    def _make_notices(self) -> Notices | Polling:
        if not self.options.listens:
            return Polling(self._poll, self.options.poll_seconds, self.where)
        return Notices(lambda: connect(self.options, "listens"), self._on_gap, self.where)

    def _to_notices(self) -> Notices | Polling:
        if self._notices is None:
            raise self._closed()
        return self._notices

    async def _poll(self) -> None:
        """Look for what only a listener would hear. For parts that have such."""

    def _on_gap(self) -> None:
        """Notices may have been missed. For parts that listen."""


async def _retried(work: Callable[[], Awaitable[T]]) -> T:
    """Do it once more when it met another transaction: it has changed nothing."""
    try:
        return await work()
    except BideError as error:
        if error.__cause__ is None or not is_conflict(error.__cause__):
            raise
    return await work()


async def _keep(_connection: Any) -> None:
    """Leave a connection as it is when it goes back to the pool: what it is set to is meant for all."""
