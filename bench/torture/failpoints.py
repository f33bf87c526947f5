"""The named moments at which a hub dies, and how it is made to.

All of them are reached from outside of bide: by a store that stands before the real one, by a stand-in for what starts jobs, by
what SQLite says of the statements that it executes, and by a limit on the size of files, which ends a process in the middle of
a write. So they cost nothing where they are not wanted.
"""

import asyncio
import os
import random
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bide.hub import Hub
from bide.model.commit import Batch
from bide.store import Store
from bide.store.base import Due


class Failpoint(StrEnum):
    """Where to die."""

    BEFORE_COMMIT = "before-commit"
    INSIDE_COMMIT = "inside-commit"
    TORN_LOG = "torn-log"
    AFTER_COMMIT = "after-commit"
    UNDELIVERED = "undelivered"
    BEFORE_EFFECT = "before-effect"
    ANSWERED = "answered"
    ACTIVITY_DONE = "activity-done"
    TIMERS_DUE = "timers-due"
    BEFORE_PURGE = "before-purge"
    AFTER_PURGE = "after-purge"
    CHECKPOINT = "checkpoint"
    RECOVERY = "recovery"
    MIGRATION = "migration"
    CLOSING = "closing"
    CLOSING_CHECKPOINT = "closing-checkpoint"

    @property
    def comes_at_start(self) -> bool:
        """Whether the hub dies before it has served anybody."""
        return self in {Failpoint.RECOVERY, Failpoint.MIGRATION}

    @property
    def comes_at_close(self) -> bool:
        """Whether the hub must be asked to close."""
        return self in {Failpoint.CLOSING, Failpoint.CLOSING_CHECKPOINT}


ABOUT: dict[Failpoint, str] = {
    Failpoint.BEFORE_COMMIT: "a batch is computed, nothing of it is written",
    Failpoint.INSIDE_COMMIT: "some of the statements of a transaction are executed",
    Failpoint.TORN_LOG: "a page of the write-ahead log, or of the database, is half written (SIGXFSZ)",
    Failpoint.AFTER_COMMIT: "a batch is on the disk, nobody has been told",
    Failpoint.UNDELIVERED: "messages between instances are on the disk, and not delivered",
    Failpoint.BEFORE_EFFECT: "a batch is on the disk, an activity is about to start, answers are not sent",
    Failpoint.ANSWERED: "callers have their answers, activities have not started",
    Failpoint.ACTIVITY_DONE: "an activity has run, its result is not stored",
    Failpoint.TIMERS_DUE: "due timers are read, none has fired",
    Failpoint.BEFORE_PURGE: "a purge is about to be written",
    Failpoint.AFTER_PURGE: "a purge is on the disk, nobody has been told",
    Failpoint.CHECKPOINT: "the log is being copied into the database",
    Failpoint.RECOVERY: "a hub that was killed starts again, and has read what to take up",
    Failpoint.MIGRATION: "an older schema is being brought up to date",
    Failpoint.CLOSING: "the hub closes, everything is written, the store is open",
    Failpoint.CLOSING_CHECKPOINT: "the hub closes, the log is being copied into the database",
}

_LONGEST_CHECKPOINT = 0.004
"""Seconds within which it dies after a checkpoint has begun; about as long as one of 4 MiB takes."""
_ANSWERS_SECONDS = 0.05
"""How long answers have to leave the process."""
_TORN_BYTES = 40_000
_SQL = {
    Failpoint.INSIDE_COMMIT: "INSERT INTO batch",
    Failpoint.MIGRATION: "CREATE TABLE settings",
    Failpoint.CHECKPOINT: "wal_checkpoint(PASSIVE)",
    Failpoint.CLOSING_CHECKPOINT: "wal_checkpoint(TRUNCATE)",
}
_LASTING = frozenset({Failpoint.CHECKPOINT, Failpoint.CLOSING_CHECKPOINT})


class Trap:
    """Ends this process at the `hit`-th time that a point is reached, after writing its name to the file `said`."""

    def __init__(self, point: Failpoint | None, hit: int, said: int, rng: random.Random) -> None:
        self.point = point
        self._left = hit
        self._said = said
        self._rng = rng

    def reach(self, point: Failpoint) -> None:
        if self.is_sprung(point):
            self.die()

    def is_sprung(self, point: Failpoint) -> bool:
        """Count a visit; whether this is the one."""
        if point is not self.point:
            return False
        self._left -= 1
        return self._left == 0

    def die(self, within: float = 0) -> None:
        """Kill the process, at once or `within` seconds from now."""
        os.write(self._said, f"{self.point}\n".encode())
        if within:
            threading.Thread(target=self._die_later, args=(within * self._rng.random(),), daemon=True).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def tear(self) -> None:
        """Let no file grow past where one of the store's will be soon: SIGXFSZ ends the process in the middle of that write."""
        os.write(self._said, f"{self.point}\n".encode())
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def watch_sql(self) -> None:
        """Make connections that tell what they execute. Must come before the store is opened."""
        if (text := _SQL.get(self.point)) is not None:
            sqlite3.connect = partial(sqlite3.connect, factory=_watched(self._on_statement, text))

    def _on_statement(self) -> None:
        if self.is_sprung(self.point):
            self.die(within=_LONGEST_CHECKPOINT if self.point in _LASTING else 0)

    def _die_later(self, seconds: float) -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)


def _watched(tell: Callable[[], None], text: str) -> type[sqlite3.Connection]:
    class Watched(sqlite3.Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.set_trace_callback(lambda statement: tell() if text in statement else None)

    return Watched


if TYPE_CHECKING:
    _Base = Store
else:
    _Base = object


class DeadlyStore(_Base):
    """Passes everything on to `store`; dies when it is time."""

    def __init__(self, store: Store, trap: Trap, files: Sequence[Path], rng: random.Random) -> None:
        """`files` are those that a torn write may hit."""
        self._store = store
        self._trap = trap
        self._files = files
        self._rng = rng

    def commit(self, batch: Batch) -> Awaitable[None]:
        reach = self._trap.reach
        if self._trap.is_sprung(Failpoint.TORN_LOG):
            self._tear()
        reach(Failpoint.BEFORE_COMMIT)
        if _purges(batch):
            reach(Failpoint.BEFORE_PURGE)
        done = asyncio.ensure_future(self._store.commit(batch))
        done.add_done_callback(lambda _: self._committed(batch))  # runs before the engine's own
        return done

    def _committed(self, batch: Batch) -> None:
        self._trap.reach(Failpoint.AFTER_COMMIT)
        if batch.inbox_added:
            self._trap.reach(Failpoint.UNDELIVERED)
        if _purges(batch):
            self._trap.reach(Failpoint.AFTER_PURGE)

    def _tear(self) -> None:
        self._trap.tear()
        size = max((file.stat().st_size for file in self._files if file.exists()), default=0)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + self._rng.randrange(1, _TORN_BYTES), hard))

    async def due(self, now: int, limit: int) -> Due:
        due = await self._store.due(now, limit)
        if due.instance_ids:
            self._trap.reach(Failpoint.TIMERS_DUE)
        return due

    async def inbox(self, limit: int | None = None) -> list[tuple[int, bytes]]:
        messages = await self._store.inbox(limit)
        self._trap.reach(Failpoint.RECOVERY)
        return messages

    async def close(self) -> None:
        self._trap.reach(Failpoint.CLOSING)
        await self._store.close()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)


def _purges(batch: Batch) -> bool:
    return any(commit.purge for commit in batch.commits)


class DeadlyJobs:
    """Stands for the hub's `JobRunner`; dies when a job is to start, at once or when answers have been sent."""

    def __init__(self, jobs: Any, trap: Trap) -> None:
        self._jobs = jobs
        self._trap = trap
        self._is_held = False

    def start(self, instance_id: str, execution_id: str, task: Any) -> None:
        self._trap.reach(Failpoint.BEFORE_EFFECT)
        if self._trap.is_sprung(Failpoint.ANSWERED):
            self._is_held = True
            asyncio.get_running_loop().call_later(_ANSWERS_SECONDS, self._trap.die)
        if not self._is_held:
            self._jobs.start(instance_id, execution_id, task)

    def __getattr__(self, name: str) -> object:
        return getattr(self._jobs, name)


def spring(hub: Hub, trap: Trap) -> None:
    """Set the trap in a hub that has just started."""
    hub.partition.jobs = DeadlyJobs(hub.partition.jobs, trap)
