"""Threads for what blocks: so many calls at a time, and what they return to the event loop in batches."""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

_log = logging.getLogger("bide.jobs")

_MOMENT = 0.1
"""Seconds."""

R = TypeVar("R")


class ThreadPool(Generic[R]):
    """Makes calls in threads. One wake-up of the loop takes all results that are there, however many finish meanwhile."""

    def __init__(self, name: str, limit: int, give: Callable[[R], None]) -> None:
        """`limit` bounds the threads, which start when they are needed; `give` takes the results, on the loop."""
        self._name = name
        self._limit = limit
        self._give = give
        self._threads: list[threading.Thread] = []
        self._calls: SimpleQueue[Callable[[], R] | None] = SimpleQueue()
        self._submitted = self._flushed = 0
        self._finished: deque[R] = deque()
        self._is_flush_due = False
        self._is_closed = False
        self._moment, self._ended, self._pace = 0.0, 0, 0
        self._loop = asyncio.get_running_loop()

    @property
    def room(self) -> int:
        """How many more calls may be made before one would wait for longer than a moment.

        As many may wait as have ended in the last moment: short ones come in bulk, and of long ones none waits here.
        """
        is_recent = self._loop.time() - self._moment < 2 * _MOMENT
        return self._limit + (self._pace if is_recent else 0) - self._busy

    @property
    def _busy(self) -> int:
        return self._submitted - self._flushed - len(self._finished)

    def _keep_pace(self, ended: int) -> None:
        self._ended += ended
        now = self._loop.time()
        if now - self._moment > _MOMENT:
            self._pace = self._ended
            self._moment, self._ended = now, 0

    def submit(self, call: Callable[[], R]) -> None:
        """Make the call, which must not raise."""
        self._calls.put(call)
        self._submitted += 1
        if self._busy > len(self._threads) and len(self._threads) < self._limit:
            self._add_thread()

    def close(self) -> None:
        """Let the threads end after what they are doing; what has not begun is dropped."""
        self._is_closed = True
        for _ in self._threads:
            self._calls.put(None)

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more of them: the call waits for one that is there
            _log.warning("cannot run more activities at a time than %d: %s", len(self._threads), error)
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None and not self._is_closed:
            self._finished.append(call())
            if not self._is_flush_due:
                self._is_flush_due = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants the result
                    self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        self._keep_pace(len(self._finished))
        while self._finished:
            self._flushed += 1
            self._give(self._finished.popleft())
