"""Azure Storage queues, in the cloud or in the Azurite emulator."""

import asyncio
import base64
import binascii
import contextlib
import logging
import math
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from bide.errors import ConfigurationError
from bide.functions.queues.base import POISON_SUFFIX, Handle, ReceivedMessage, as_text
from bide.functions.queues.pump import LEASE_SECONDS, Delivery, Pump, take_whole
from bide.functions.settings import QueueSettings

_log = logging.getLogger("bide.functions.queues")

_FIRST_POLL_SECONDS = 0.1
"""As in Azure's host: so soon after a message the next one is looked for, then half as often each time."""
_MOST_PER_REQUEST = 32
"""The service's limit."""
_RETRIES = 3
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
        return [_Delivery(self._queue, self._poison, message, self._settings) for message in messages]


class _Delivery:
    def __init__(self, queue: QueueClient, poison: QueueClient, stored: QueueMessage, settings: QueueSettings) -> None:
        self._queue = queue
        self._poison = poison
        self._stored = stored
        self._settings = settings
        self._receipt = str(stored.pop_receipt)
        body = _decode(str(stored.content or ""), is_base64=settings.is_base64)
        self._count = stored.dequeue_count or 1
        self._reason = (
            f"failed {self._count} times" if body is not None else "is not base64 (host.json, messageEncoding)"
        )
        self.is_spent = body is None or self._count > settings.max_dequeue_count
        self.message = ReceivedMessage(
            id=str(stored.id),
            body=body or b"",
            dequeue_count=self._count,
            inserted_at=stored.inserted_on,
            expires_at=stored.expires_on,
            next_visible_at=stored.next_visible_on,
            pop_receipt=self._receipt,
        )

    async def done(self) -> None:
        await self._queue.delete_message(self._stored.id, self._receipt)

    async def failed(self) -> None:
        if self.is_spent or self._count >= self._settings.max_dequeue_count:
            await self._bury()
        else:
            await self._hide(self._settings.visibility_timeout)

    async def _bury(self) -> None:
        """Copy, then delete: after a crash in between the message may be in both queues, but never in none."""
        await _put(self._poison, self._stored.content, time_to_live=_FOR_EVER)
        await self.done()
        _log.error(
            "queue %s: message %s %s and is in %s now",
            self._queue.queue_name,
            self._stored.id,
            self._reason,
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
            initial_backoff=1,  # seconds; the library's own are 15 and more
            increment_base=2,
            retry_total=_RETRIES,
        )
    except ValueError as error:
        raise ConfigurationError(f"The connection string of queue {queue!r} cannot be read: {error}") from error


async def _create(client: QueueClient) -> None:
    with contextlib.suppress(ResourceExistsError):  # somebody was faster
        await client.create_queue()


async def _put(client: QueueClient, text: Any, **options: Any) -> None:
    try:
        await client.send_message(text, **options)
    except ResourceNotFoundError:
        await _create(client)
        await client.send_message(text, **options)


def _encode(body: str | bytes) -> str:
    return base64.b64encode(body.encode() if isinstance(body, str) else body).decode()


def _decode(text: str, *, is_base64: bool) -> bytes | None:
    """Give the body; None when it is not in the encoding that host.json says, and so never will be."""
    try:
        return base64.b64decode(text, validate=True) if is_base64 else text.encode()
    except (binascii.Error, ValueError):
        return None
