"""Removes ended instances and dead letters that are older than the hub keeps them."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from bide.errors import BideError
from bide.model.clock import Clock, span_micros
from bide.model.instance import ENDED
from bide.runtime.local import LocalClient
from bide.store.base import InstanceFilter, Store

_log = logging.getLogger("bide.retention")

_EVERY = timedelta(minutes=10)


class Retention:
    """A duty that runs every ten minutes."""

    def __init__(
        self,
        client: LocalClient,
        store: Store,
        clock: Clock,
        keep: timedelta,
        is_on_duty: Callable[[], bool] | None = None,
    ) -> None:
        """`is_on_duty` tells whether it is for this node to do, among several."""
        self._is_on_duty = is_on_duty
        self._client = client
        self._store = store
        self._clock = clock
        self._keep = keep

    async def run_once(self) -> int:
        """Remove what is older than it is to be kept; how many instances that were."""
        if self._is_on_duty is not None and not self._is_on_duty():
            return 0
        before = self._clock.now() - span_micros(self._keep)
        await self._store.expire_dead_letters(before)
        return await self._client.purge_where(InstanceFilter(statuses=ENDED, ended_before=before))

    async def run(self) -> None:
        while True:
            try:
                removed = await self.run_once()
                if removed:
                    _log.info("removed %d ended instances older than %s", removed, self._keep)
            except BideError as error:
                _log.warning("could not remove old instances, trying again later: %s", error)
            await asyncio.sleep(_EVERY.total_seconds())
