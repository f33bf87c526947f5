"""A message in one of bide's own queues."""

import msgspec


class QueueMessage(msgspec.Struct, frozen=True, gc=False):
    """A message as the store holds it. Times are microseconds.

    It is hidden until `visible_at`: because it was sent with a delay, because somebody works on it, or because that failed.
    `receipt` is new with every delivery, and proves that a message is still in the hands of whoever wants to settle it; None:
    it was never delivered. After `expires_at` (None: never) it is not delivered any more.
    """

    id: int
    queue: str
    body: str
    inserted_at: int
    dequeue_count: int
    receipt: str | None
    visible_at: int
    expires_at: int | None = None
