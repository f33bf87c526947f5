"""Sending to bide's own queues."""

from datetime import timedelta

from bide.errors import InvalidInputError
from bide.model.clock import span_micros
from bide.store.base import QueueStore

_LONGEST_DELAY = timedelta(days=36_500)


async def send(store: QueueStore, queue: str, body: str, now: int, delay: timedelta | float | None = None) -> int:
    """Store a message, hidden for `delay` (a number is in seconds), and return its id.

    Raises `InvalidInputError` for a delay below zero or above a hundred years, and for text that cannot be stored.
    """
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay or 0
    if not 0 <= seconds <= _LONGEST_DELAY.total_seconds():
        raise InvalidInputError(f"The delay must be from 0 s to a hundred years, not {seconds!r} s.")
    return await store.enqueue(queue, body, visible_at=now + span_micros(seconds), inserted_at=now)
