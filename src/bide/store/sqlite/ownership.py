"""Keeps a second process, or a second hub in this one, from writing to the same file.

A lock of the operating system on a file beside the database: it goes with the process, also by `kill -9`.
"""

import fcntl
import os
from pathlib import Path

from bide.errors import StoreLockedError, StoreUnavailableError


class Ownership:
    """The lock on `<database>.lock`, which holds the owner's process id for people to read."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock; `StoreLockedError` when somebody has it."""
        path = Path(f"{self._database}.lock")
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailableError(
                f"Cannot create {path}: {error.strerror}. The folder must be writable."
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 20).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise StoreLockedError(
                f"{self._database} is in use by process {owner}. Talk to that one (--url with the address it serves), "
                "or use another file."
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
