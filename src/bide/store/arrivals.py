"""Tells those who listen to a queue, in this process, that there may be something to take."""

import asyncio
import contextlib
from collections.abc import Iterator


class Arrivals:
    """An event for each listener, not one for each queue: whoever clears his takes nothing from the others."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def watch(self, queue: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        watchers = self._watchers.setdefault(queue, set())
        watchers.add(event)
        try:
            yield event
        finally:
            watchers.discard(event)
            if not watchers:
                self._watchers.pop(queue, None)

    def announce_all(self) -> None:
        for queue in self._watchers:
            self.announce(queue)

    def announce(self, queue: str) -> None:
        for event in self._watchers.get(queue, ()):
            event.set()
