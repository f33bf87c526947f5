"""Wakes the instances whose timers are due.

Timers live in the store (`instances.next_timer_at`); memory holds one alarm, for the earliest of them. So a parked
instance costs nothing here, and start-up is one query.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from bide.errors import StoreError
from bide.model.clock import SECOND, Clock, TimerHandle
from bide.store.base import Store

_log = logging.getLogger("bide.timers")

_AT_A_TIME = 512
_PAUSE = SECOND


class Timers:
    """One alarm for the earliest timer; when it rings, what is due is asked from the store and posted."""

    def __init__(self, store: Store, clock: Clock, post_due: Callable[[Iterable[str]], None]) -> None:
        self._store = store
        self._clock = clock
        self._post_due = post_due
        self._alarm: TimerHandle | None = None
        self._alarm_at: int | None = None
        self._posted: set[str] = set()  # told, and not yet committed: still due in the store
        self._ignored: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_more = False  # due than is read at a time
        self._rang = False  # since what is due began to be read
        self._is_closed = False

    def arm(self, at: int) -> None:
        """Make sure that the alarm rings at `at` or before."""
        if self._is_closed or (self._alarm_at is not None and self._alarm_at <= at):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._clock.call_at(at, self._ring)

    def handled(self, instance_ids: Iterable[str]) -> None:
        """Messages to these instances have been committed: if they are due again, tell them again."""
        if self._posted:
            self._posted.difference_update(instance_ids)
            if not self._posted:  # one that is still due, though it was told, is not asked for without a pause
                self.arm(self._clock.now() + (0 if self._is_more else _PAUSE))

    def is_elsewhere(self, instance_id: str) -> None:
        """It is handled by another node, or is about to be: that one tells it."""
        self._posted.discard(instance_id)
        self.arm(self._clock.now() + _PAUSE)

    def ignore(self, instance_id: str) -> None:
        """Leave the timers of this instance alone: its code is not there to be run."""
        self._ignored.add(instance_id)

    def heed(self, instance_id: str) -> None:
        """Whoever has this id next is another one."""
        self._ignored.discard(instance_id)

    def forget(self) -> None:
        """What is in memory is gone, or other instances are handled here: all that is due is told anew."""
        self._posted.clear()
        self._ignored.clear()

    def close(self) -> None:
        self._is_closed = True
        if self._alarm is not None:
            self._alarm.cancel()

    def _ring(self) -> None:
        self._alarm = self._alarm_at = None
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._post_all())
        else:
            self._rang = True

    async def _post_all(self) -> None:
        """Post what is due; again when the alarm rang meanwhile, for what was read may be older."""
        self._rang = True
        while self._rang:
            self._rang = False
            await self._post()

    async def _post(self) -> None:
        now = self._clock.now()
        try:
            # Those that are known, and still due in the store, must not fill the page.
            due = await self._store.due(now, _AT_A_TIME + len(self._posted) + len(self._ignored))
        except StoreError as error:
            if not self._is_closed:
                _log.warning("cannot read timers, trying again: %s", error)
                self.arm(now + _PAUSE)
            return
        fresh = [each for each in due.instance_ids if each not in self._posted and each not in self._ignored]
        self._posted.update(fresh)
        self._post_due(fresh)
        self._is_more = due.next_at is not None and due.next_at <= now
        if due.next_at is not None and due.next_at > now:
            self.arm(due.next_at)
