"""Opens and closes a store, and gives its parts a way to read and to write."""

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Any

from bide.errors import ConfigurationError, StoreUnavailableError
from bide.store.sqlite.connection import driver_errors, migrate, open_database
from bide.store.sqlite.ownership import Ownership
from bide.store.sqlite.writer import Writer

_KNOWS_EFFECTIVE_IDS = os.access in os.supports_effective_ids


class Access:
    """Base of the store's parts: one connection that reads, in the event loop, and a writer with its own."""

    def __init__(self, path: Path | str) -> None:
        if str(path) == ":memory:":
            raise ConfigurationError("For a store in memory use memory: (MemoryStore) instead of :memory:")
        self.path = Path(path).absolute()
        self._ownership = Ownership(self.path)
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None

    async def open(self) -> None:
        self._check_path()
        self._ownership.acquire()
        try:
            connection = open_database(self.path)
            try:
                migrate(connection, self.path)
                self._reader = open_database(self.path, read_only=True)
            except BaseException:
                connection.close()
                raise
            self._writer = Writer(connection, self.path)
        except BaseException:
            self._ownership.release()
            raise

    def _check_path(self) -> None:
        if not self.path.parent.is_dir():
            raise StoreUnavailableError(f"{self.path} cannot be created: there is no folder {self.path.parent}.")
        if self.path.is_dir():
            raise StoreUnavailableError(f"{self.path} is a folder; name a file.")
        for file in (self.path, Path(f"{self.path}-wal"), Path(f"{self.path}-shm")):
            # SQLite would open it, and leave more files that are as read-only behind.
            if file.exists() and not os.access(file, os.R_OK | os.W_OK, effective_ids=_KNOWS_EFFECTIVE_IDS):
                raise StoreUnavailableError(f"{file} is read-only. The file and its folder must be writable.")

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        if writer is not None:
            await writer.close()
        self._ownership.release()

    def _read(self, sql: str, *values: Any) -> list[Any]:
        if self._reader is None:
            raise self._closed()
        with driver_errors(self.path):
            return self._reader.execute(sql, values).fetchall()

    def _change(self, sql: str, *values: Any) -> "asyncio.Future[list[Any]]":
        """Execute a statement after all those before it; the rows that it returns, if it has RETURNING."""
        if self._writer is None:
            raise self._closed()
        return self._writer.submit_returning((sql, values))

    def _closed(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self.path} is not open.")
