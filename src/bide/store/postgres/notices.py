"""The connection that listens: what other nodes say, passed on in the event loop.

When the connection is lost, it is made anew, later each time it fails, and then it is said that something may have been missed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

from bide.errors import BideError, StoreUnavailableError
from bide.store.postgres.connection import DRIVER_ERRORS, Connection, driver_errors

_log = logging.getLogger("bide.store")

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0


Handler = Callable[[str], None]
"""Is called with the payload of each notice on its channel."""


class Notices:
    """Listens from the first channel on."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], on_gap: Callable[[], None], where: str) -> None:
        self._connect = connect
        self._on_gap = on_gap
        self._where = where
        self._handlers: dict[str, Handler] = {}
        self._connection: Connection | None = None
        self._is_busy = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def listen(self, handlers: Mapping[str, Handler]) -> None:
        """Hear what is said on these channels from now on; while there is no connection, from the next `on_gap` on."""
        async with self._is_busy:
            new = handlers.keys() - self._handlers.keys()
            self._handlers.update(handlers)
            if self._connection is not None:
                await self._add(self._connection, new)
            elif self._task is None:
                await self._reconnect()

    async def unlisten(self, channels: Collection[str]) -> None:
        async with self._is_busy:
            old = self._handlers.keys() & set(channels)
            for each in old:
                del self._handlers[each]
            if self._connection is not None:
                with contextlib.suppress(
                    *DRIVER_ERRORS
                ):  # the connection is lost, and the next one will not listen to them
                    for each in old:
                        await self._connection.remove_listener(each, self._heard)

    async def close(self) -> None:
        self._is_closed = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        async with self._is_busy:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.terminate()

    async def _reconnect(self) -> None:
        connection = await self._connect()
        try:
            await self._add(connection, list(self._handlers))
        except BaseException:
            connection.terminate()
            raise
        if connection.is_closed():
            raise StoreUnavailableError(f"{self._where}: the connection that listens was lost at once.")
        connection.add_termination_listener(self._lost)
        self._connection = connection

    async def _add(self, connection: Connection, channels: Iterable[str]) -> None:
        with driver_errors(self._where):
            for each in channels:
                await connection.add_listener(each, self._heard)

    def _heard(self, _connection: Any, _pid: int, channel: str, payload: object) -> None:
        handler = self._handlers.get(channel)
        if handler is not None and not self._is_closed:
            handler(str(payload))

    def _lost(self, connection: Any) -> None:
        if self._is_closed or connection is not self._connection:
            return
        self._connection = None
        _log.warning("%s: the connection that listens is lost", self._where)
        self._task = asyncio.get_running_loop().create_task(self._restore())

    async def _restore(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._is_busy:
                    await self._reconnect()
                break
            except BideError as error:
                _log.debug("%s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        self._task = None
        _log.warning("%s: listening again", self._where)
        self._on_gap()
