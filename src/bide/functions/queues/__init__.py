"""Queues for hosted function apps.

`base` has the seam: a `Listener` hands out messages, a `Sender` sends them. `opening` chooses one by the connection: `embedded`
is on bide's own store, `storage` on Azure Storage, `broker` on RabbitMQ, Redis, NATS and Kafka. `pump` is what all listeners
share: how many messages at a time, how often, and what becomes of them.
"""

from bide.functions.queues.base import Handle, Listener, ReceivedMessage, Sender
from bide.functions.queues.opening import open_listener, open_sender

__all__ = ["Handle", "Listener", "ReceivedMessage", "Sender", "open_listener", "open_sender"]
