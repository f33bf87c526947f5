"""The machine's clock."""

import asyncio
import time
from collections.abc import Callable

from bide.model.clock import SECOND, TimerHandle

_LONGEST_SLEEP = 30 * SECOND
"""The event loop counts monotonic time. Looking at the wall clock this often bounds how late a timer is after
somebody has set the clock, or the machine has slept."""


class SystemClock:
    """Wall-clock time for timers and time stamps; timers go by it, not by the monotonic clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def call_at(self, when: int, callback: Callable[[], None]) -> TimerHandle:
        return _Alarm(self, when, callback)


class _Alarm:
    """Sleeps in steps until the wall clock has reached `when`."""

    def __init__(self, clock: SystemClock, when: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._when = when
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._sleep()

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _sleep(self) -> None:
        left = self._when - self._clock.now()
        if left <= 0:
            self._handle = self._loop.call_later(0, self._callback)
        else:
            self._handle = self._loop.call_later(min(left, _LONGEST_SLEEP) / SECOND, self._sleep)
