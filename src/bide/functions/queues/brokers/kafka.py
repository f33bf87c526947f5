"""Kafka: a topic, read by a consumer group. The offset is committed after each message.

A commit covers everything before it in the partition, so messages are handled one at a time; what makes it faster is
another process. kafka://host:9092,other:9092 names the brokers.
"""

from collections.abc import AsyncIterator
from typing import Any

from faststream import AckPolicy
from faststream.confluent import KafkaBroker

from bide.errors import ConfigurationError
from bide.functions.queues.brokers.base import LIBRARY_LOG, Incoming

_GROUP = "bide"
_POLL_SECONDS = 5.0
_LONGEST_HANDLER_MS = 3_600_000
"""Kafka gives the partition to another consumer when one message takes longer."""


class KafkaConnection:
    """See `Connection`."""

    most_at_once = 1

    def __init__(self, url: str, queue: str) -> None:
        servers = url.partition("://")[2].strip("/")
        if "@" in servers or "/" in servers or not servers:
            raise ConfigurationError(
                "A connection to Kafka is written kafka://host:9092,other:9092, without user and path."
            )
        self._queue = queue
        self._broker: Any = KafkaBroker(servers.split(","), logger=LIBRARY_LOG)
        self._subscriber: Any = None

    async def open(self, *, prefetch: int = 0) -> None:
        if prefetch:
            self._subscriber = self._broker.subscriber(
                self._queue,
                group_id=_GROUP,
                auto_offset_reset="earliest",
                max_poll_interval_ms=_LONGEST_HANDLER_MS,
                ack_policy=AckPolicy.MANUAL,
            )
        await self._broker.start()

    async def close(self) -> None:
        await self._broker.stop()

    async def receive(self) -> AsyncIterator[Incoming]:
        while True:
            if (message := await self._subscriber.get_one(timeout=_POLL_SECONDS)) is not None:
                yield message

    async def send(self, queue: str, body: bytes) -> None:
        await self._broker.publish(body, queue)

    async def count(self, message: Incoming) -> int:  # noqa: ARG002  (Kafka does not count)
        return 1

    async def acknowledge(self, message: Incoming) -> None:
        await message.ack()

    async def give_back(self, message: Incoming) -> None:
        """Go back to it, in case that this consumer goes on."""
        await message.nack()

    async def renew(self, message: Incoming) -> None:
        """See `_LONGEST_HANDLER_MS`."""
