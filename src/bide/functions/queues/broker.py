"""Queues on a message broker, through FastStream. The URL's scheme chooses; `brokers` has a file for each.

Brokers have no visibility timeout, and few count deliveries, so the attempts happen here: a message that failed is held,
unacknowledged, until it is tried again, and goes to the poison queue after the last attempt. When this process dies, the broker
delivers it to another, and the attempts count from one again unless the broker counts deliveries.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

import msgspec

from bide.functions.queues.base import POISON_SUFFIX, Handle, ReceivedMessage
from bide.functions.queues.brokers.base import Connection, Incoming
from bide.functions.queues.pump import Delivery, Pump
from bide.functions.settings import QueueSettings

_log = logging.getLogger("bide.functions.queues")

_OPEN_SECONDS = 20.0
"""Some libraries go on trying for minutes without a word."""
_CLOSE_SECONDS = 5.0
_CANCEL_ATTEMPTS = 6
"""Of a request for messages: at a bad moment libraries swallow it, and the request begins anew."""
_CANCEL_SECONDS = 0.5

Connect = Callable[[], Connection]


class BrokerListener:
    """See `Listener`."""

    def __init__(self, url: str, queue: str, settings: QueueSettings) -> None:
        self._connect = _connector(url, queue)
        most = self._connect().most_at_once
        self._queue = queue
        self._settings = replace(settings, batch_size=min(settings.batch_size, most))

    async def run(self, handle: Handle) -> None:
        source = _Source(self._connect, self._queue, self._settings)
        try:
            await Pump(self._queue, source, _Attempts(handle, self._settings), self._settings).run()
        finally:
            await source.close()


class BrokerSender:
    """See `Sender`."""

    def __init__(self, url: str, queue: str) -> None:
        self._connect = _connector(url, queue)
        self._connect()  # a URL that cannot be read is refused now
        self._queue = queue
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        self._connection = await _open(self._connect, prefetch=0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)

    async def send(self, body: str | bytes) -> None:
        if self._connection is None:
            async with self:
                await self.send(body)
        else:
            await self._connection.send(self._queue, body.encode() if isinstance(body, str) else body)


class _Attempts:
    """Calls `handle` again after the visibility timeout, until it returns or the attempts are used up."""

    def __init__(self, handle: Handle, settings: QueueSettings) -> None:
        self._handle = handle
        self._settings = settings

    async def __call__(self, message: ReceivedMessage) -> None:
        for count in range(message.dequeue_count, self._settings.max_dequeue_count):
            try:
                await self._handle(msgspec.structs.replace(message, dequeue_count=count))
            except Exception:  # noqa: BLE001  (the border to user code: whatever it raises, this attempt has failed)
                _log.debug("attempt %d of message %s failed", count, message.id, exc_info=True)
                await asyncio.sleep(self._settings.visibility_timeout.total_seconds())
            else:
                return
        await self._handle(msgspec.structs.replace(message, dequeue_count=self._settings.max_dequeue_count))


class _Source:
    """Receives one message at a time, when the pump asks; connects, and after an error connects anew."""

    def __init__(self, connect: Connect, queue: str, settings: QueueSettings) -> None:
        self._connect = connect
        self._queue = queue
        self._settings = settings
        self._connection: Connection | None = None
        self._incoming: AsyncIterator[Incoming] | None = None

    async def take(self, limit: int) -> Sequence[Delivery]:  # noqa: ARG002  (the pump asks again at once)
        if self._connection is None:
            self._connection = await _open(self._connect, prefetch=self._settings.batch_size)
            self._incoming = self._connection.receive()
        connection = self._connection
        assert self._incoming is not None
        try:
            message = await _received(connection, self._incoming)
            return [_Delivery(connection, message, await connection.count(message), self._queue, self._settings)]
        except StopAsyncIteration:
            await self.close()
            raise ConnectionError("the broker has closed the connection") from None
        except Exception:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect; messages under way are delivered again unless they are acknowledged before."""
        connection, self._connection, self._incoming = self._connection, None, None
        if connection is not None:
            await _close(connection)


class _Delivery:
    def __init__(
        self, connection: Connection, incoming: Incoming, count: int, queue: str, settings: QueueSettings
    ) -> None:
        self._connection = connection
        self._incoming = incoming
        self._queue = queue
        self.is_spent = count > settings.max_dequeue_count
        self.message = ReceivedMessage(id=str(incoming.message_id), body=bytes(incoming.body), dequeue_count=count)

    async def done(self) -> None:
        await self._connection.acknowledge(self._incoming)

    async def failed(self) -> None:
        """All attempts were used up. Copy, then acknowledge: the message may be in both queues, but never in none."""
        poison = self._queue + POISON_SUFFIX
        await self._connection.send(poison, self.message.body)
        await self.done()
        _log.error("queue %s: message %s failed too often and is in %s now", self._queue, self.message.id, poison)

    async def give_back(self) -> None:
        await self._connection.give_back(self._incoming)

    async def renew(self) -> None:
        await self._connection.renew(self._incoming)


async def _open(connect: Connect, *, prefetch: int) -> Connection:
    connection = connect()
    try:
        async with asyncio.timeout(_OPEN_SECONDS):
            await connection.open(prefetch=prefetch)
    except BaseException as error:
        await _close(connection)
        if isinstance(error, TimeoutError):
            raise ConnectionError(f"no connection within {_OPEN_SECONDS:g} s") from error
        raise
    return connection


async def _close(connection: Connection) -> None:
    """Close it, for a bounded time: one that is gone needs no good-bye."""
    with suppress(Exception):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()


async def _received(connection: Connection, incoming: AsyncIterator[Incoming]) -> Incoming:
    """Await the next message; when cancelled meanwhile, give back what has come."""
    request = asyncio.ensure_future(anext(incoming))
    try:
        await asyncio.wait({request})
    except asyncio.CancelledError:
        for _ in range(_CANCEL_ATTEMPTS):
            request.cancel()
            if (await asyncio.wait({request}, timeout=_CANCEL_SECONDS))[0]:
                break
        if request.done() and not request.cancelled() and request.exception() is None:
            with suppress(Exception):
                await connection.give_back(request.result())
        raise
    return request.result()


def _connector(url: str, queue: str) -> Connect:
    """Raise `ImportError` when the broker's library is missing."""
    match url.partition("://")[0].casefold():
        case "redis" | "rediss":
            from bide.functions.queues.brokers.redis import RedisConnection  # noqa: PLC0415  (only the one that is used)

            return lambda: RedisConnection(url, queue)
        case "nats":
            from bide.functions.queues.brokers.nats import NatsConnection  # noqa: PLC0415

            return lambda: NatsConnection(url, queue)
        case "kafka":
            from bide.functions.queues.brokers.kafka import KafkaConnection  # noqa: PLC0415

            return lambda: KafkaConnection(url, queue)
        case _:
            from bide.functions.queues.brokers.rabbit import RabbitConnection  # noqa: PLC0415

            return lambda: RabbitConnection(url, queue)
