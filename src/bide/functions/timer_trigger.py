"""Timer triggers: NCRONTAB with seconds, or a time span; missed runs are made up for once.

When a timer ran last is kept in the store's settings, so that a restart knows what it has missed. Where several nodes share the
store, each rings its timers, and one of them calls the function: the first that notes there that this ring is done.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from azure.functions.meta import Datum
from croniter import CroniterError, croniter

from bide.errors import ConfigurationError, StoreError
from bide.functions.function import Function
from bide.functions.invocation import AzureValue
from bide.functions.settings import parse_span, resolve

_log = logging.getLogger("bide.functions.timer")

_FIELDS_WITH_SECONDS = 6
_SHORTEST_MONITORED = timedelta(minutes=1)
"""As on Azure: of timers that run more often nobody keeps account."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_SLEEP = 3600.0
"""Seconds; the machine's clock may be set meanwhile."""


class SettingsStore(Protocol):
    async def get_setting(self, name: str) -> str | None: ...
    async def put_setting(self, name: str, value: str | None) -> None: ...
    async def replace_setting(self, name: str, old: str | None, new: str) -> bool: ...


class Schedule:
    """When a timer rings."""

    def __init__(self, text: str, *, is_aligned: bool = False) -> None:
        """Read NCRONTAB (five fields, or six with seconds in front) or a span `hh:mm:ss`.

        A span counts from the last ring; with `is_aligned` from 1970, so that all clocks agree. Raises `ConfigurationError` for
        anything else.
        """
        self._is_aligned = is_aligned
        self.text = text.strip()
        self._cron = re.sub(r"[A-Za-z]{4,}", lambda name: name[0][:3], self.text)  # croniter wants MON for Monday
        self._span = parse_span(self.text)
        self._has_seconds = len(self.text.split()) == _FIELDS_WITH_SECONDS
        if self._span is not None and self._span <= timedelta(0):
            raise ConfigurationError(f"the schedule {text!r} is not longer than nothing")
        try:
            self.after(self.after(datetime.now(UTC)))
        except (CroniterError, ValueError, KeyError, OverflowError) as error:
            raise ConfigurationError(
                f"the schedule {text!r} is neither NCRONTAB, as '0 */5 * * * *', nor a span, as '00:05:00': {error}"
            ) from error

    def after(self, time: datetime) -> datetime:
        """Give the first time after `time`; UTC."""
        if self._span is not None:
            return time + self._span - ((time - _EPOCH) % self._span if self._is_aligned else timedelta(0))
        # NCRONTAB wants day of the month and day of the week to fit, cron one of them.
        times = croniter(self._cron, time, second_at_beginning=self._has_seconds, day_or=False)
        following: datetime = times.get_next(datetime)
        return following


class Timer:
    """One function with a timer trigger."""

    def __init__(
        self,
        function: Function,
        store: SettingsStore,
        *,
        is_shared: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raise `ConfigurationError` when the schedule cannot be read.

        `is_shared`: other nodes have the same timer. `now` and `sleep` (seconds) are for tests.
        """
        self._now = now
        self._sleep = sleep
        trigger = function.trigger
        self.function = function
        self.schedule = Schedule(resolve(str(trigger.get("schedule") or ""), function.where), is_aligned=is_shared)
        self._turn_key = f"timer-turn:{function.name}" if is_shared else None
        self._runs_on_startup = trigger.get("runOnStartup") is True
        following = self.schedule.after(now())
        is_seldom = self.schedule.after(following) - following >= _SHORTEST_MONITORED
        self._is_monitored = trigger.get("useMonitor") is not False and is_seldom
        self._store = store
        self._key = f"timer:{function.name}"
        self._last: datetime | None = None

    async def run(self, call: Callable[[AzureValue], Awaitable[Any]]) -> None:
        """Ring until cancelled; one call at a time. What `call` raises is its own business."""
        self._last = await self._stored()
        following = self._missed() or self.schedule.after(self._now())
        if self._runs_on_startup:
            await self._ring(call, following=following, is_past_due=False)
        while True:
            while (left := (following - self._now()).total_seconds()) > 0:
                await self._sleep(min(left, _LONGEST_SLEEP))
            now = self._now()
            due, following = following, self.schedule.after(now)
            if await self._is_our_turn(due):
                await self._ring(call, following=following, is_past_due=now - due > timedelta(seconds=1))

    async def _is_our_turn(self, due: datetime) -> bool:
        """Of several nodes, which agree on when a ring is due, the first to note it does it. Who cannot tell does not."""
        if self._turn_key is None:
            return True
        turn = due.astimezone(UTC).isoformat()
        try:
            last = await self._store.get_setting(self._turn_key)
            is_open = last is None or datetime.fromisoformat(last) < due
            return is_open and await self._store.replace_setting(self._turn_key, last, turn)
        except StoreError as error:
            _log.warning("%s: cannot tell whose turn it is, and leaves it out: %s", self.function.where, error)
            return False

    def _missed(self) -> datetime | None:
        """Give the time at which it should have rung while nobody was there."""
        if self._last is None:
            return None
        due = self.schedule.after(self._last)
        return due if due <= self._now() else None

    async def _ring(
        self, call: Callable[[AzureValue], Awaitable[Any]], *, following: datetime, is_past_due: bool
    ) -> None:
        now, last = self._now(), self._last
        self._last = now
        if self._is_monitored:
            await self._note(now)
        status = {"Last": (last or now).isoformat(), "Next": following.isoformat(), "LastUpdated": now.isoformat()}
        value = {"IsPastDue": is_past_due, "Schedule": {"AdjustForDST": True}, "ScheduleStatus": status}
        await call(AzureValue(Datum(json.dumps(value), "json")))

    async def _note(self, now: datetime) -> None:
        try:
            await self._store.put_setting(self._key, now.isoformat())
        except StoreError as error:  # it rings all the same; after a restart it may ring once more
            _log.warning("%s: cannot note when it ran: %s", self.function.where, error)

    async def _stored(self) -> datetime | None:
        text = None
        try:
            text = await self._store.get_setting(self._key) if self._is_monitored else None
        except StoreError as error:
            _log.warning("%s: cannot tell whether it has missed a run: %s", self.function.where, error)
        return datetime.fromisoformat(text) if text else None
