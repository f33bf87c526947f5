"""Stands in for LISTEN where a database does not have it: from time to time everybody is told that there may be something."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from bide.errors import BideError
from bide.store.postgres.notices import Handler

_log = logging.getLogger("bide.store")


class Polling:
    """Has the verbs of `Notices`. `look` fetches what a notice would bring by itself."""

    def __init__(self, look: Callable[[], Awaitable[None]], seconds: float, where: str) -> None:
        self._look = look
        self._seconds = seconds
        self._where = where
        self._handlers: dict[str, Handler] = {}
        self._task: asyncio.Task[None] | None = None

    async def listen(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers.update(handlers)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def unlisten(self, channels: Collection[str]) -> None:
        for each in channels:
            self._handlers.pop(each, None)

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._look()
            except BideError as error:
                _log.debug("%s", error)
                continue
            for handler in dict.fromkeys(self._handlers.values()):
                handler("")
