"""Redis, as streams with a consumer group: a list forgets a message when it is taken.

A message that was handled is deleted from the stream. One that nobody has renewed for a while is claimed: its process died.
"""

import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from redis.exceptions import ResponseError

from bide.functions.queues.brokers.base import LIBRARY_LOG, Incoming
from bide.functions.queues.pump import LEASE_SECONDS

_GROUP = "bide"
_LEASE_MS = LEASE_SECONDS * 1000
_POLL_SECONDS = 2.0
"""So long one read waits in the server, well below any timeout on the way."""
_CLAIM_SECONDS = 15.0


class RedisConnection:
    """See `Connection`."""

    most_at_once = 1 << 16

    def __init__(self, url: str, queue: str) -> None:
        self._queue = queue
        self._consumer = socket.gethostname()
        self._broker: Any = RedisBroker(url, logger=LIBRARY_LOG)
        self._client: Any = None
        self._fresh: Any = None
        self._stale: Any = None

    async def open(self, *, prefetch: int = 0) -> None:
        self._client = await self._broker.connect()
        if prefetch:
            with contextlib.suppress(ResponseError):  # the group is there
                await self._client.xgroup_create(self._queue, _GROUP, id="0", mkstream=True)
            self._fresh = self._subscriber()
            self._stale = self._subscriber(min_idle_time=_LEASE_MS)
        await self._broker.start()

    def _subscriber(self, **options: Any) -> Any:
        stream = StreamSub(self._queue, group=_GROUP, consumer=self._consumer, **options)
        return self._broker.subscriber(stream=stream, ack_policy=AckPolicy.MANUAL)

    async def close(self) -> None:
        await self._broker.stop()

    async def receive(self) -> AsyncIterator[Incoming]:
        claimed_at = -_CLAIM_SECONDS
        while True:
            if time.monotonic() - claimed_at >= _CLAIM_SECONDS:
                while (message := await self._stale.get_one()) is not None:
                    yield message
                claimed_at = time.monotonic()
            if (message := await self._fresh.get_one(timeout=_POLL_SECONDS)) is not None:
                yield message

    async def send(self, queue: str, body: bytes) -> None:
        await self._broker.publish(body, stream=queue)

    async def count(self, message: Incoming) -> int:
        return int(await message.get_delivery_count())

    async def acknowledge(self, message: Incoming) -> None:
        await message.ack()
        await message.delete()

    async def give_back(self, message: Incoming) -> None:
        """Make it look abandoned: the next look for such messages finds it."""
        await self._claim(message, idle=_LEASE_MS)

    async def renew(self, message: Incoming) -> None:
        await self._claim(message, idle=0)

    async def _claim(self, message: Incoming, idle: int) -> None:
        """Set for how long nobody has touched the message; JUSTID: without counting a delivery."""
        ids = message.raw_message["message_ids"]
        await self._client.xclaim(self._queue, _GROUP, self._consumer, 0, ids, idle=idle, justid=True)
