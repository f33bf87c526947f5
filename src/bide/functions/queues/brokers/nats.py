"""NATS with JetStream: a stream that keeps each message until one consumer has acknowledged it.

A stream that takes the queue's subject already is used as it is.
"""

import re
from collections.abc import AsyncIterator
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js.api import ConsumerConfig, RetentionPolicy
from nats.js.errors import NotFoundError

from bide.functions.queues.brokers.base import LIBRARY_LOG, Incoming
from bide.functions.queues.pump import LEASE_SECONDS

_DURABLE = "bide"
_POLL_SECONDS = 5.0


class NatsConnection:
    """See `Connection`."""

    most_at_once = 1 << 16

    def __init__(self, url: str, queue: str) -> None:
        self._queue = queue
        self._broker: Any = NatsBroker(url, logger=LIBRARY_LOG)
        self._streams: dict[str, str] = {}
        self._subscriber: Any = None

    async def open(self, *, prefetch: int = 0) -> None:
        client = await self._broker.connect()
        self._jetstream = client.jetstream()
        if prefetch:
            stream = await self._stream(self._queue)
            self._subscriber = self._broker.subscriber(
                self._queue,
                stream=JStream(stream, declare=False),
                pull_sub=PullSub(batch_size=1),
                durable=f"{_DURABLE}-{_name(self._queue)}",
                config=ConsumerConfig(ack_wait=LEASE_SECONDS),
                ack_policy=AckPolicy.MANUAL,
            )
        await self._broker.start()

    async def _stream(self, subject: str) -> str:
        """Return the name of the stream that takes the subject; make one if there is none."""
        if subject not in self._streams:
            try:
                name = str(await self._jetstream.find_stream_name_by_subject(subject))
            except NotFoundError:
                name = _name(subject)
                await self._jetstream.add_stream(name=name, subjects=[subject], retention=RetentionPolicy.WORK_QUEUE)
            self._streams[subject] = name
        return self._streams[subject]

    async def close(self) -> None:
        await self._broker.stop()

    async def receive(self) -> AsyncIterator[Incoming]:
        try:
            while True:
                if (message := await self._subscriber.get_one(timeout=_POLL_SECONDS)) is not None:
                    yield message
        finally:
            await self._subscriber.stop()  # or the server sends what is given back to us again

    async def send(self, queue: str, body: bytes) -> None:
        stream = await self._stream(queue)
        await self._broker.publish(body, queue, stream=stream)

    async def count(self, message: Incoming) -> int:
        return int(message.raw_message.metadata.num_delivered)

    async def acknowledge(self, message: Incoming) -> None:
        await message.ack_sync()

    async def give_back(self, message: Incoming) -> None:
        await message.nack()

    async def renew(self, message: Incoming) -> None:
        await message.in_progress()


def _name(subject: str) -> str:
    """Make a name of a stream or consumer, which may not have dots, spaces and wildcards."""
    return re.sub(r"[^\w-]", "_", subject)
