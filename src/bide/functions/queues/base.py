"""What a queue trigger needs from a queue, whoever keeps it."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

import msgspec

from bide.errors import InvalidInputError

POISON_SUFFIX = "-poison"
"""Of the queue that takes what failed too often, as in Azure Functions."""


class ReceivedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it was delivered, for the `dequeue_count`th time. Times that a queue does not keep are None."""

    id: str
    body: bytes
    dequeue_count: int
    inserted_at: datetime | None = None
    expires_at: datetime | None = None
    next_visible_at: datetime | None = None
    pop_receipt: str = ""


Handle = Callable[[ReceivedMessage], Awaitable[None]]
"""What is to be done with a message; it raises when that failed."""


class Listener(Protocol):
    """Hands out the messages of one queue."""

    async def run(self, handle: Handle) -> None:
        """Handle messages until cancelled; then let those under way finish, for some seconds, and give back the others.

        A message is removed only after `handle` has returned: it is handled at least once. When `handle` raises, it is visible
        again after the visibility timeout, and after the last attempt it is moved to the poison queue. What keeps
        messages from coming is logged and tried again; a mistake in the settings raises `ConfigurationError`.
        """
        ...


class Sender(Protocol):
    """Sends to one queue. `async with` keeps one connection for all messages; without, each has its own."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def send(self, body: str | bytes) -> None:
        """Send a message; when this returns, the queue has it. Raises `InvalidInputError` for what the queue cannot hold."""
        ...


def as_text(body: str | bytes) -> str:
    """Return the body as text. Raises `InvalidInputError` for bytes that are not UTF-8."""
    if isinstance(body, str):
        return body
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"A message of this queue must be text, and these bytes are not UTF-8: {error}"
        ) from error
