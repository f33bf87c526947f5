"""A connection to a broker, for one queue."""

import logging
from collections.abc import AsyncIterator
from typing import Any, Protocol

LIBRARY_LOG = logging.getLogger("bide.functions.queues.faststream")
"""FastStream's own would write to the console by itself."""

Incoming = Any
"""A message of FastStream's: every broker has a class of its own, with `body`, `message_id`, `ack` and `nack`."""


class Connection(Protocol):
    """Made unconnected, `open`ed once, and useless after `close`."""

    most_at_once: int
    """How many messages may be under way without one's acknowledgement covering another."""

    async def open(self, *, prefetch: int = 0) -> None:
        """Connect; with `prefetch`, to receive, so many messages at a time."""
        ...

    async def close(self) -> None:
        """Disconnect. The broker delivers again what was not acknowledged."""
        ...

    def receive(self) -> AsyncIterator[Incoming]:
        """Messages, as they come, without end."""
        ...

    async def send(self, queue: str, body: bytes) -> None:
        """Send to this queue or another one, which is made if it is missing. The broker has the message when this returns."""
        ...

    async def count(self, message: Incoming) -> int:
        """How often the message was delivered, this time included; 1 when the broker does not know."""
        ...

    async def acknowledge(self, message: Incoming) -> None:
        """Remove the message from the queue."""
        ...

    async def give_back(self, message: Incoming) -> None:
        """Let another consumer have it."""
        ...

    async def renew(self, message: Incoming) -> None:
        """Say that it is still being worked on, to a broker that would deliver it to another consumer."""
        ...
