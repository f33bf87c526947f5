"""The thread that writes batches, in order."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from bide.errors import StoreError
from bide.store.sqlite.batch import SETUP
from bide.store.sqlite.checkpoints import Checkpoints
from bide.store.sqlite.connection import explain

_BYTES_PER_BATCH = 32 << 10
"""Pages that a small batch touches besides its own bytes, for the estimate of how much the log has grown."""

Statement = tuple[str, tuple[Any, ...]]
_Job = tuple[Statement, "asyncio.Future[Any]", bool, int]
"""What to execute, whom to tell, whether the statement returns rows, and the generation: see `Writer.submit`."""


class Writer:
    """Owns the only connection that writes."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        connection.executescript(SETUP)
        self._connection = connection
        self._path = path
        self._checkpoints = Checkpoints(path)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._generation = 0  # the loop's; a new one begins when a failure is known there
        self._failed_generation = -1  # the thread's, as is the error
        self._error: StoreError | None = None
        self._thread = threading.Thread(target=self._run, name="bide-writer", daemon=True)
        self._thread.start()

    def submit(self, statement: Statement) -> "asyncio.Future[None]":
        """Execute one statement, a transaction of its own, after all those before it.

        When one fails, those submitted before its failure was known fail too: they may rest on it.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((statement, done, False, self._generation))
        return done

    def submit_returning(self, statement: Statement) -> "asyncio.Future[list[Any]]":
        """Like `submit`, for a statement with RETURNING: its rows. It is executed even if the future is cancelled."""
        done: asyncio.Future[list[Any]] = self._loop.create_future()
        self._jobs.put((statement, done, True, self._generation))
        return done

    async def close(self) -> None:
        """Write what was submitted, fold the log into the database, and end."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            statement, done, is_returning, generation = job
            rows = None
            if generation > self._failed_generation:
                self._error, rows = self._write(statement, is_returning=is_returning)
                if self._error is not None:
                    self._failed_generation = generation
            self._loop.call_soon_threadsafe(self._resolve, done, self._error, rows, generation)
            if self._error is None:
                self._checkpoints.wrote(_size(statement), self._connection)
        self._checkpoints.close(self._connection)
        self._connection.close()

    def _resolve(
        self, done: "asyncio.Future[Any]", error: StoreError | None, rows: list[Any] | None, generation: int
    ) -> None:
        """Runs in the loop: from here on the failure is known, and what is submitted next is tried."""
        if error is not None and self._generation == generation:
            self._generation += 1
        if done.done():
            return
        if error is None:
            done.set_result(rows)
        else:
            done.set_exception(error)

    def _write(self, statement: Statement, *, is_returning: bool) -> tuple[StoreError | None, list[Any] | None]:
        """Execute it. A statement that returns rows has ended, and is committed, when the last one has been fetched."""
        try:
            cursor = self._connection.execute(*statement)
            return None, cursor.fetchall() if is_returning else None
        except sqlite3.Error as error:
            return explain(error, self._path), None


def _size(statement: Statement) -> int:
    return _BYTES_PER_BATCH + sum(len(value) for value in statement[1] if isinstance(value, str | bytes))
