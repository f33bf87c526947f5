"""Writes batches in order on a connection of its own, one statement at a time.

When that connection is lost while a statement runs, nobody knows whether it will take effect; it may even be running still.
So every new connection first takes all partitions again, each under its next epoch: the old statement has ended by then,
because it locks them, or it will fail. Until that is done the owner must not read: see `settle`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

import asyncpg
import msgspec

from bide.errors import BideError, LeaseLostError, StoreUnavailableError
from bide.store.postgres.batch import LEASE_LOST, MESSAGE_GONE, Statement
from bide.store.postgres.connection import DRIVER_ERRORS, Connection, explain, is_conflict, is_lost
from bide.store.postgres.leases import Leases, Tenure
from bide.store.postgres.statements import SQL

_log = logging.getLogger("bide.store")

_PLANNING = "SET plan_cache_mode TO force_generic_plan"
"""To plan a batch takes longer than to execute it: each shape is planned once."""


class _Job(msgspec.Struct, eq=False):
    statement: Statement
    tenures: list[Tenure]
    done: "asyncio.Future[None]"


class Writer:
    """`connect` opens the connection; `leases` say what a statement's fence must find, and learn of new epochs."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], leases: Leases, where: str) -> None:
        self._connect = connect
        self._leases = leases
        self._where = where
        self._was_connected = False
        self._connection: Connection | None = None
        self._jobs: deque[_Job] = deque()
        self._task: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self._error: BideError | None = None  # a failure that the callers have not been told yet

    def submit(self, statement: Statement) -> "asyncio.Future[None]":
        """Execute a statement, a transaction of its own, after all those before it.

        When one fails, those submitted before its failure was known fail too: they may rest on it.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._error is not None:
            self._refuse([done], self._error)
            return done
        try:
            self._jobs.append(_Job(statement, self._leases.of(statement.fenced), done))
        except LeaseLostError as error:
            self._refuse([done], error)
            return done
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return done

    async def settle(self) -> None:
        """Wait until nothing that was written on a lost connection can take effect any more."""
        await self._connected()

    async def finish(self) -> None:
        """Wait until all that was submitted is written, or refused."""
        while self._task is not None:
            await self._task

    async def close(self) -> None:
        await self.finish()
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)

    async def _run(self) -> None:
        while self._jobs:
            job = self._jobs.popleft()
            error = await self._write(job)
            if error is None:
                if not job.done.done():
                    job.done.set_result(None)
            else:
                self._refuse([job.done, *(other.done for other in self._jobs)], error)
                self._jobs.clear()
        self._task = None

    async def _write(self, job: _Job) -> BideError | None:
        try:
            connection = await self._connected()
            if not self._leases.are_current(job.tenures):
                return self._leases.lost("a partition of the batch was lost before it was written")
            if job.tenures:
                job.statement.values[1:3] = [each.epoch for each in job.tenures], self._leases.node
            try:
                await self._execute(connection, job.statement)
            except DRIVER_ERRORS as error:
                return self._explain(error, connection)
        except BideError as error:
            return error
        except Exception as error:  # noqa: BLE001  (whatever it is: who waits for the commit, or for the next, is told)
            return StoreUnavailableError(f"{self._where}: the batch was not written: {error!r}")
        return None

    @staticmethod
    async def _execute(connection: Connection, statement: Statement) -> None:
        try:
            await connection.fetch(statement.sql, *statement.values)
        except DRIVER_ERRORS as error:
            if not is_conflict(error):
                raise
            await connection.fetch(statement.sql, *statement.values)

    def _explain(self, error: BaseException, connection: Connection) -> BideError:
        text = str(error)
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate == "22P02":
            if LEASE_LOST in text:
                return self._leases.lost("another node has claimed a partition of this one")
            if MESSAGE_GONE in text:
                return StoreUnavailableError(
                    f"{self._where}: a message was handled already. The partition must be read again."
                )
        if is_lost(error) or (isinstance(error, asyncpg.PostgresError) and error.sqlstate == "25006"):
            self._give_up(connection)
        return explain(error, self._where)

    def _give_up(self, connection: Connection) -> None:
        connection.terminate()
        if self._connection is connection:  # `settle` may have made a new one already
            self._connection = None

    async def _connected(self) -> Connection:
        """Return the connection, a new one when the last is lost; `StoreUnavailableError` when there is none to be had."""
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = None
                connection = await self._connect()
                try:
                    await self._begin(connection)
                except DRIVER_ERRORS as error:
                    connection.terminate()
                    raise explain(error, self._where) from error
                except BaseException:
                    connection.terminate()
                    raise
                self._connection = connection
            return self._connection

    async def _begin(self, connection: Connection) -> None:
        await connection.execute(_PLANNING)
        async with self._leases.changing:
            await self._take_again(connection)
        self._was_connected = True

    async def _take_again(self, connection: Connection) -> None:
        tenures = self._leases.all()
        if not tenures:
            return
        rows = await connection.fetch(
            SQL["take_again"], [each.partition for each in tenures], [each.epoch for each in tenures], self._leases.node
        )
        epochs: dict[int, int] = {row[0]: row[1] for row in rows}
        for tenure in tenures:
            if tenure.partition in epochs:
                tenure.raise_to(epochs[tenure.partition])
            else:
                self._leases.end([tenure.partition])
        if self._was_connected:
            _log.warning(
                "%s: connected again, %d of %d partitions are still held", self._where, len(epochs), len(tenures)
            )

    def _refuse(self, futures: "list[asyncio.Future[None]]", error: BideError) -> None:
        """Fail them. What is submitted before their owner has been told fails too."""
        self._error = error
        for future in futures:
            if not future.done():
                future.set_exception(error)
        asyncio.get_running_loop().call_soon(self._mend)  # runs after their callbacks

    def _mend(self) -> None:
        self._error = None


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=5)
    except DRIVER_ERRORS:
        connection.terminate()
