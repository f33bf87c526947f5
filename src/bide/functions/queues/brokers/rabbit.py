"""RabbitMQ: durable queues on the default exchange, persistent messages, confirmed by the broker."""

from collections.abc import AsyncIterator
from typing import Any

from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from bide.functions.queues.brokers.base import LIBRARY_LOG, Incoming


class RabbitConnection:
    """See `Connection`."""

    most_at_once = 1 << 16

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._queue = queue
        self._broker: Any = None
        self._subscriber: Any = None

    async def open(self, *, prefetch: int = 0) -> None:
        self._broker = RabbitBroker(
            self._url, logger=LIBRARY_LOG, default_channel=Channel(prefetch_count=prefetch or None)
        )
        if prefetch:
            self._subscriber = self._broker.subscriber(_durable(self._queue), ack_policy=AckPolicy.MANUAL)
        await self._broker.start()

    async def close(self) -> None:
        if self._broker is not None:
            await self._broker.stop()

    async def receive(self) -> AsyncIterator[Incoming]:
        async for message in self._subscriber:
            yield message

    async def send(self, queue: str, body: bytes) -> None:
        await self._broker.declare_queue(_durable(queue))
        await self._broker.publish(body, queue=queue, persist=True)

    async def count(self, message: Incoming) -> int:
        """Quorum queues count what was delivered before; others only say whether there was such a time."""
        raw = message.raw_message
        return int((raw.headers or {}).get("x-delivery-count") or bool(raw.redelivered)) + 1

    async def acknowledge(self, message: Incoming) -> None:
        await message.ack()

    async def give_back(self, message: Incoming) -> None:
        await message.nack()

    async def renew(self, message: Incoming) -> None:
        """RabbitMQ waits as long as the connection lives (30 minutes, unless its consumer_timeout says otherwise)."""


def _durable(queue: str) -> RabbitQueue:
    return RabbitQueue(queue, durable=True)
