"""The connection chooses the service; nothing stands in for another."""

import sys

import pytest

from bide import ConfigurationError
from bide.functions.queues import open_listener, open_sender
from bide.functions.queues.embedded import EmbeddedListener, EmbeddedSender
from bide.functions.settings import QueueSettings
from bide.store import MemoryStore

SETTINGS = QueueSettings()


@pytest.mark.parametrize("connection", [None, "", "  "])
def test_no_connection_is_bides_own_queue(connection):
    store = MemoryStore()
    assert isinstance(open_listener(connection, "q", SETTINGS, store), EmbeddedListener)
    assert isinstance(open_sender(connection, "q", SETTINGS, store), EmbeddedSender)


@pytest.mark.parametrize(
    "connection",
    [
        "UseDevelopmentStorage=true",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5;EndpointSuffix=core.windows.net",
        "AccountName=a;AccountKey=a2V5",
    ],
)
def test_azure_storage(connection):
    """Also the emulator's, whether it runs or not."""
    storage = pytest.importorskip("bide.functions.queues.storage", exc_type=ImportError)
    assert isinstance(open_listener(connection, "q-1", SETTINGS, MemoryStore()), storage.StorageListener)
    assert isinstance(open_sender(connection, "q-1", SETTINGS, MemoryStore()), storage.StorageSender)


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        ("Endpoint=sb://x.servicebus.windows.net/;SharedAccessKey=secret", "'Endpoint='"),
        ("sqs://key:secret@host", "'sqs://'"),
        ("secret", "''"),
        ("AccountName=a", "cannot be read"),
    ],
)
@pytest.mark.parametrize("opening", [open_listener, open_sender])
def test_other_connections_are_refused(opening, connection, words):
    """The error says how the connection begins, and keeps its secrets."""
    pytest.importorskip("azure.storage.queue.aio")
    with pytest.raises(ConfigurationError, match=words) as caught:
        opening(connection, "q", SETTINGS, MemoryStore())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("connection", "module", "library", "extra"),
    [
        ("UseDevelopmentStorage=true", "storage", "azure.storage.queue", "azure"),
        ("redis://localhost", "broker", "faststream", "queues"),
    ],
)
@pytest.mark.parametrize("opening", [open_listener, open_sender])
def test_a_missing_extra_is_named(opening, connection, module, library, extra, monkeypatch):
    """The error says what to install."""
    monkeypatch.delitem(sys.modules, f"bide.functions.queues.{module}", raising=False)
    monkeypatch.delattr(f"bide.functions.queues.{module}", raising=False)
    for name in [name for name in sys.modules if name == library or name.startswith(library + ".")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'bide\[{extra}\]'"):
        opening(connection, "q", SETTINGS, MemoryStore())
