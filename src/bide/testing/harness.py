"""The real engine on a store in memory, with time in the test's hands."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from types import TracebackType
from typing import Any, Self

from bide.app import App
from bide.client.base import Client
from bide.hub import Hub
from bide.model.clock import SECOND, TimerHandle, span_micros
from bide.model.names import event_key
from bide.store import MemoryStore, Store

_START = 1_704_110_400 * SECOND
"""2024-01-01 12:00:00 UTC."""


_QUIET_ROUNDS = 5
"""A result may be on its way through a few callbacks of the loop."""


class VirtualClock:
    """A `Clock` that stands still until it is moved."""

    def __init__(self, now: int = _START) -> None:
        self._now = now
        self._alarms: list[tuple[int, int, _Alarm]] = []
        self._numbers = count()

    def now(self) -> int:
        return self._now

    def call_at(self, when: int, callback: Callable[[], None]) -> TimerHandle:
        alarm = _Alarm(callback)
        if when <= self._now:
            asyncio.get_running_loop().call_soon(alarm.ring)
        else:
            heapq.heappush(self._alarms, (when, next(self._numbers), alarm))
        return alarm

    def next_alarm(self) -> int | None:
        """When the next alarm rings; None when none is set."""
        while self._alarms and self._alarms[0][2].is_canceled:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def move_to(self, when: int) -> None:
        """Set the time, and ring what is due."""
        self._now = max(self._now, when)
        while (at := self.next_alarm()) is not None and at <= self._now:
            heapq.heappop(self._alarms)[2].ring()


class _Alarm:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self.is_canceled = False

    def cancel(self) -> None:
        self.is_canceled = True

    def ring(self) -> None:
        if not self.is_canceled:
            self._callback()


class Harness:
    """A hub for a test.

    ::

        async with Harness(app) as harness:
            instance_id = await harness.client.start_new("approval")
            await harness.advance(timedelta(days=3))
            assert (await harness.client.get_status(instance_id)).output == "escalated"
    """

    def __init__(self, app: App, store: Store | None = None, **options: Any) -> None:
        """`options` are those of `Hub`. Activities with `process=True` run on threads, unless `activity_processes` is given."""
        self.clock = VirtualClock()
        self.store = store if store is not None else MemoryStore()
        self.hub = Hub(app, self.store, clock=self.clock, **{"activity_processes": 0, **options})

    async def __aenter__(self) -> Self:
        await self.hub.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hub.close()

    @property
    def client(self) -> Client:
        return self.hub.client

    async def run_until_idle(self) -> None:
        """Let the engine work until nothing is left to do but wait: no message, no commit, no activity under way."""
        quiet = 0
        while quiet < _QUIET_ROUNDS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.hub.is_idle else 0

    async def advance(self, span: timedelta | float) -> None:
        """Move the clock, a number is in seconds; every timer on the way fires at its own time."""
        end = self.clock.now() + span_micros(span)
        await self.run_until_idle()
        while (at := self.clock.next_alarm()) is not None and at <= end:
            self.clock.move_to(at)
            await self.run_until_idle()
        self.clock.move_to(end)
        await self.run_until_idle()

    async def assert_waiting_for(self, instance_id: str, *names: str) -> None:
        """Fail unless the instance waits for exactly these events."""
        await self.run_until_idle()
        status = await self.client.get_status(instance_id)
        waiting = sorted(wait.name for wait in status.waits)
        assert sorted(map(event_key, names)) == sorted(map(event_key, waiting)), (
            f"{instance_id!r} ({status.runtime_status.label}) waits for {waiting}, not for {sorted(names)}"
        )
