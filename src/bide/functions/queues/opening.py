"""Chooses the queue service by the connection. A service whose library is missing is an error, never another service."""

import contextlib
import re
from collections.abc import Iterator

from bide.errors import ConfigurationError
from bide.functions.queues.base import Listener, Sender
from bide.functions.queues.embedded import EmbeddedListener, EmbeddedSender
from bide.functions.settings import QueueSettings
from bide.model.clock import Clock
from bide.runtime.clock import SystemClock
from bide.store.base import QueueStore

_STORAGE_KEYS = frozenset(
    {"defaultendpointsprotocol", "usedevelopmentstorage", "accountname", "queueendpoint", "blobendpoint"}
)
"""What connection strings of Azure Storage begin with."""
_BROKER_SCHEMES = frozenset({"amqp", "amqps", "redis", "rediss", "nats", "kafka"})


def open_listener(
    connection: str | None, queue: str, settings: QueueSettings, store: QueueStore, *, clock: Clock | None = None
) -> Listener:
    """Make a listener for `queue`; nothing is connected before it runs.

    `connection` is a connection string of Azure Storage, or a broker's URL (amqp, amqps, redis, rediss, nats, kafka); None
    or blank stands for bide's own `store`, which goes by `clock` (the machine's). Raises `ConfigurationError` for any
    other, and when the library for it is missing.
    """
    text = (connection or "").strip()
    if not text:
        return EmbeddedListener(store, queue, settings, clock or SystemClock())
    if _is_storage(text):
        with _needing("azure"):
            from bide.functions.queues.storage import StorageListener  # noqa: PLC0415  (an extra)
        return StorageListener(text, queue, settings)
    with _needing("queues"):
        from bide.functions.queues.broker import BrokerListener  # noqa: PLC0415  (an extra)

        return BrokerListener(text, queue, settings)


def open_sender(
    connection: str | None, queue: str, settings: QueueSettings, store: QueueStore, *, clock: Clock | None = None
) -> Sender:
    """Make a sender for `queue`; see `open_listener`."""
    text = (connection or "").strip()
    if not text:
        return EmbeddedSender(store, queue, clock or SystemClock())
    if _is_storage(text):
        with _needing("azure"):
            from bide.functions.queues.storage import StorageSender  # noqa: PLC0415  (an extra)
        return StorageSender(text, queue, settings)
    with _needing("queues"):
        from bide.functions.queues.broker import BrokerSender  # noqa: PLC0415  (an extra)

        return BrokerSender(text, queue)


def _is_storage(connection: str) -> bool:
    """Whether it is a connection string of Azure Storage, or else a broker's URL; `ConfigurationError` when neither."""
    key, _, _ = connection.partition("=")
    if key.strip().casefold() in _STORAGE_KEYS:
        return True
    scheme = re.match(r"(\w+)://", connection)
    if scheme is not None and scheme[1].casefold() in _BROKER_SCHEMES:
        return False
    beginning = scheme[0] if scheme is not None else f"{key:.30}=" if "=" in connection else ""
    raise ConfigurationError(  # without the rest, which may hold a key
        f"bide knows no queue service for a connection that begins with {beginning!r}: use a connection string of Azure Storage "
        "(DefaultEndpointsProtocol=…), an address such as amqp://, redis://, nats:// or kafka://, or none for bide's own queues."
    )


@contextlib.contextmanager
def _needing(extra: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"This connection needs {error.name or error}, which is not installed: pip install 'bide[{extra}]'"
        ) from error
