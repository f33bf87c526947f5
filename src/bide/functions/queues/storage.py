"""Azure Storage queues, in the cloud or in the Azurite emulator."""

import asyncio
import base64
import binascii
import logging
import math
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import ExponentialRetry, QueueMessage
from azure.storage.queue.aio import QueueClient

from bide.errors import ConfigurationError
from bide.functions.queues.base import POISON_SUFFIX, Handle, ReceivedMessage, as_text
from bide.functions.queues.pump import LEASE_SECONDS, Delivery, Pump, take_whole
from bide.functions.settings import QueueSettings

# The library logs every request at INFO: see docs/guides for how to hear it.
_log = logging.getLogger("bide.functions.queues")

_FIRST_POLL_SECONDS = 0.1
"""As in Azure's host: so soon after a message the next one is looked for, then half as often each time."""
_MOST_PER_REQUEST = 32
"""The service's limit."""
_FOR_EVER = -1


class StorageListener:
    """See `Listener`."""

    def __init__(self, connection: str, queue: str, settings: QueueSettings) -> None:
        self._connection = connection
        self._queue = queue
        self._settings = settings
        _client(connection, queue)

    async def run(self, handle: Handle) -> None:
        async with (
            _client(self._connection, self._queue) as queue,
            _client(self._connection, self._queue + POISON_SUFFIX) as poison,
        ):
            await Pump(self._queue, _Source(queue, poison, self._settings), handle, self._settings).run()


class StorageSender:
    """See `Sender`. The queue is made if it is missing."""

    def __init__(self, connection: str, queue: str, settings: QueueSettings) -> None:
        self._connection = connection
        self._queue = queue
        self._is_base64 = settings.is_base64
        self._client: QueueClient | None = None
        _client(connection, queue)

    async def __aenter__(self) -> Self:
        self._client = _client(self._connection, self._queue)
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def send(self, body: str | bytes) -> None:
        text = _encode(body) if self._is_base64 else as_text(body)
        if self._client is not None:
            await _put(self._client, text)
        else:
            async with _client(self._connection, self._queue) as client:
                await _put(client, text)


class _Source:
    """Polls: at once while there are messages, then half as often each time, down to the `max_polling_interval`."""

    def __init__(self, queue: QueueClient, poison: QueueClient, settings: QueueSettings) -> None:
        self._queue = queue
        self._poison = poison
        self._settings = settings

    async def take(self, limit: int) -> Sequence[Delivery]:
        interval = _FIRST_POLL_SECONDS
        while True:
            taken = await take_whole(self._receive(min(limit, _MOST_PER_REQUEST)))
            if taken:
                return taken
            longest = self._settings.max_polling_interval.total_seconds()
            await asyncio.sleep(min(interval, longest))
            interval = min(interval * 2, longest)

    async def _receive(self, limit: int) -> Sequence[Delivery]:
        pages = self._queue.receive_messages(messages_per_page=limit, visibility_timeout=LEASE_SECONDS).by_page()
        try:
            messages = [message async for message in await anext(pages)]
        except StopAsyncIteration:
            return ()
        except ResourceNotFoundError:
            await _create(self._queue)
            return ()
        return [delivery for message in messages if (delivery := await self._delivery(message)) is not None]

    async def _delivery(self, message: QueueMessage) -> Delivery | None:
        """Make a delivery; what is not in the encoding that host.json says never will be, and is poison at once."""
        delivery = _Delivery(self._queue, self._poison, message, self._settings)
        try:
            delivery.message = _received(message, is_base64=self._settings.is_base64)
        except (binascii.Error, ValueError):
            _log.error(  # noqa: TRY400  (the text says it all)
                "queue %s: message %s is not base64: check extensions.queues.messageEncoding in host.json",
                self._queue.queue_name,
                message.id,
            )
            await delivery.bury()
            return None
        return delivery


class _Delivery:
    message: ReceivedMessage

    def __init__(self, queue: QueueClient, poison: QueueClient, stored: QueueMessage, settings: QueueSettings) -> None:
        self._queue = queue
        self._poison = poison
        self._stored = stored
        self._settings = settings
        self._receipt: str = str(stored.pop_receipt)

    async def done(self) -> None:
        await self._queue.delete_message(self._stored.id, self._receipt)

    async def failed(self) -> None:
        if (self._stored.dequeue_count or 0) >= self._settings.max_dequeue_count:
            await self.bury()
        else:
            await self._hide(self._settings.visibility_timeout)

    async def bury(self) -> None:
        """Copy, then delete: after a crash in between the message may be in both queues, but never in none."""
        await _put(self._poison, self._stored.content, time_to_live=_FOR_EVER)
        await self.done()
        _log.error(
            "queue %s: message %s was delivered %s times and is in %s now",
            self._queue.queue_name,
            self._stored.id,
            self._stored.dequeue_count,
            self._poison.queue_name,
        )

    async def give_back(self) -> None:
        await self._hide(timedelta(0))

    async def renew(self) -> None:
        await self._hide(timedelta(seconds=LEASE_SECONDS))

    async def _hide(self, span: timedelta) -> None:
        """The service makes a new receipt each time."""
        updated = await self._queue.update_message(
            self._stored.id, self._receipt, visibility_timeout=math.ceil(span.total_seconds())
        )
        self._receipt = str(updated.pop_receipt)


def _client(connection: str, queue: str) -> QueueClient:
    """Make a client, not connected yet. Bodies are left as they are: one that cannot be decoded must not hold up the others."""
    try:
        return QueueClient.from_connection_string(
            connection,
            queue,
            message_encode_policy=None,
            message_decode_policy=None,
            retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=3),
        )
    except ValueError as error:
        raise ConfigurationError(f"The connection string of queue {queue!r} cannot be read: {error}") from error


async def _create(client: QueueClient) -> None:
    try:
        await client.create_queue()
    except ResourceExistsError:
        pass  # somebody was faster


async def _put(client: QueueClient, text: Any, **options: Any) -> None:
    try:
        await client.send_message(text, **options)
    except ResourceNotFoundError:
        await _create(client)
        await client.send_message(text, **options)


def _encode(body: str | bytes) -> str:
    return base64.b64encode(body.encode() if isinstance(body, str) else body).decode()


def _received(message: QueueMessage, *, is_base64: bool) -> ReceivedMessage:
    """Raise `binascii.Error` or `ValueError` for a body that is not base64."""
    text = str(message.content or "")
    return ReceivedMessage(
        id=str(message.id),
        body=base64.b64decode(text, validate=True) if is_base64 else text.encode(),
        dequeue_count=message.dequeue_count or 1,
        inserted_at=message.inserted_on,
        expires_at=message.expires_on,
        next_visible_at=message.next_visible_on,
        pop_receipt=str(message.pop_receipt),
    )
