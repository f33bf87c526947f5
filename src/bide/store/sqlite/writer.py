"""The thread that writes batches, in order, and keeps the write-ahead log short between them."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from bide.errors import StoreError, StoreUnavailableError
from bide.store.sqlite.batch import Statement
from bide.store.sqlite.connection import explain

_IDLE_CHECKPOINT_BYTES = 4 << 20
"""A log of this size is copied back when the writer has nothing else to do."""
_FORCED_CHECKPOINT_BYTES = 64 << 20
"""At this size the log is copied back although batches wait: it must not grow for ever under saturation."""

_Job = tuple[list[Statement], "asyncio.Future[None]"]


class Writer:
    """Owns the only connection that writes."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._wal = Path(f"{path}-wal")
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] | None = None
        self._error: StoreError | None = None
        self._thread = threading.Thread(target=self._run, name="bide-writer", daemon=True)
        self._thread.start()

    def submit(self, statements: list[Statement]) -> "asyncio.Future[None]":
        """Write one transaction after all those before it.

        When one fails, those submitted before its failure was known fail too: they may rest on it.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((statements, done))
        return done

    async def close(self) -> None:
        """Write what was submitted, fold the log into the database, and end."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            statements, done = job
            if self._error is None:
                self._error = self._write(statements)
            self._loop.call_soon_threadsafe(self._resolve, done, self._error)
        self._checkpoint("TRUNCATE")
        self._connection.close()

    def _next(self) -> _Job | None:
        try:
            job = self._jobs.get_nowait()
        except Empty:
            if self._wal_size() > _IDLE_CHECKPOINT_BYTES:
                self._checkpoint("PASSIVE")
            return self._jobs.get()
        if self._wal_size() > _FORCED_CHECKPOINT_BYTES:
            self._checkpoint("RESTART")
        return job

    def _resolve(self, done: "asyncio.Future[None]", error: StoreError | None) -> None:
        """Runs in the loop: from here on the failure is known, and what is submitted next is tried."""
        if error is not None and self._error is error:
            self._jobs_fail_until_known()
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def _jobs_fail_until_known(self) -> None:
        """Everything in the queue now was submitted before the failure was known."""
        waiting: list[_Job | None] = []
        while True:
            try:
                waiting.append(self._jobs.get_nowait())
            except Empty:
                break
        error, self._error = self._error, None
        for job in waiting:
            if job is None:
                self._jobs.put(None)
            else:
                job[1].set_exception(error or StoreUnavailableError("An earlier commit failed."))

    def _write(self, statements: list[Statement]) -> StoreError | None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for sql, parameters in statements:
                connection.execute(sql, parameters)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.rollback()
            return explain(error, self._path)
        return None

    def _wal_size(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    def _checkpoint(self, mode: str) -> None:
        try:
            self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error:
            return  # a reader is in the way, or the disk is full: the log stays and the next time comes
