"""Copies the write-ahead log back into the database, beside the writer and never inside a commit."""

import sqlite3
import threading
from pathlib import Path

from bide.store.sqlite.connection import open_database

_START_BYTES = 4 << 20
"""So much written since the last time makes it worth while: seldom enough to cost little, small enough to be short."""
_FORCE_BYTES = 64 << 20
"""A log that passive checkpoints cannot keep up with is cut by the writer itself when it has grown by this."""


class Checkpoints:
    """A thread with a connection of its own, which makes passive checkpoints: they hold up neither writer nor readers."""

    def __init__(self, path: Path) -> None:
        self._connection = open_database(path)
        self._written = 0
        self._since_restart = 0
        self._wanted = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="bide-checkpoints", daemon=True)
        self._thread.start()

    def wrote(self, size: int, writer: sqlite3.Connection) -> None:
        """Note that the writer has committed about `size` bytes. Called by the writer, between transactions."""
        self._written += size
        self._since_restart += size
        if self._since_restart > _FORCE_BYTES:
            # Waits for readers and starts the log anew; without it the log grows for ever under saturation.
            _checkpoint(writer, "RESTART")
            self._since_restart = self._written = 0
        elif self._written > _START_BYTES:
            self._written = 0
            self._wanted.set()

    def close(self, writer: sqlite3.Connection) -> None:
        """End the thread, and leave a database whose log is empty."""
        self._is_closing = True
        self._wanted.set()
        self._thread.join()
        self._connection.close()
        _checkpoint(writer, "TRUNCATE")

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._is_closing:
                return
            _checkpoint(self._connection, "PASSIVE")


def _checkpoint(connection: sqlite3.Connection, mode: str) -> None:
    try:
        connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    except sqlite3.Error:
        return  # a reader is in the way, or the disk is full: the log stays, and the next time comes
