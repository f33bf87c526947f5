"""What the machine itself can do: the figures that ours stand beside."""

import os
import sqlite3
import statistics
import time
from pathlib import Path


def fsync_ms(folder: Path) -> float:
    """Median of an fdatasync after 4 KiB were appended to a file."""
    taken = []
    with (folder / "fsync").open("ab", buffering=0) as file:
        for _ in range(300):
            file.write(b"x" * 4096)
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1000


def commits_per_second(folder: Path) -> float:
    """SQLite, WAL, synchronous=FULL: transactions of one small row."""
    connection = sqlite3.connect(folder / "limit.db", isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (k INTEGER PRIMARY KEY, v)"
    )
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < 1:
        connection.execute("INSERT INTO t (v) VALUES (?)", ("x" * 100,))
        count += 1
    connection.close()
    return count / (time.perf_counter() - begin)
