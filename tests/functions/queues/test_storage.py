"""Azure Storage queues, on the Azurite emulator."""

import asyncio
import base64
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.functions.queues import servers

from bide import InvalidInputError
from bide.functions.queues import open_listener, open_sender, pump
from bide.functions.settings import QueueSettings
from bide.store import MemoryStore

aio = pytest.importorskip("azure.storage.queue.aio", exc_type=ImportError)
pytest.importorskip("aiohttp")
pytestmark = pytest.mark.timeout(300)  # the first run installs the emulator

# Azurite's account and key are the same everywhere, and published.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
STORE = MemoryStore()
SETTINGS = QueueSettings(max_polling_interval=timedelta(milliseconds=200))


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    """The connection string of a running emulator."""
    script = servers.install_azurite(servers.program("npm", "npm"))
    port = servers.free_port()
    options = ["--silent", "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--queuePort", port]
    command = [servers.program("node", "nodejs"), script, *options]
    with servers.running(command, r"listen\w* (?:at|on) http", tmp_path_factory.mktemp("azurite")):
        yield (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"QueueEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        )


@pytest.fixture
def queue():
    return f"q-{uuid4().hex}"


@pytest.fixture
def client(azurite):
    """Azure's own client, as another program would use it."""
    return lambda queue: aio.QueueClient.from_connection_string(azurite, queue)


async def contents(client, queue):
    async with client(queue) as other:
        return [message.content async for message in other.receive_messages(messages_per_page=32)]


@pytest.mark.parametrize("is_base64", [True, False])
async def test_messages_are_delivered_and_removed(azurite, client, queue, recorder, listening, is_base64):
    """In both encodings, from us and from others; the queue is made by whoever comes first."""
    settings = QueueSettings(is_base64=is_base64, max_polling_interval=SETTINGS.max_polling_interval)
    sender = open_sender(azurite, queue, settings, STORE)
    await sender.send("grüße <&>")
    async with sender:
        await sender.send(b"bytes")
    async with client(queue) as other:
        text = "from others"
        await other.send_message(base64.b64encode(text.encode()).decode() if is_base64 else text)
    handle = recorder()
    async with listening(open_listener(azurite, queue, settings, STORE), handle):
        await handle.until(3)
    assert sorted(handle.bodies) == sorted(["grüße <&>".encode(), b"bytes", b"from others"])
    message = handle.messages[0]
    assert (message.dequeue_count, bool(message.id), bool(message.pop_receipt)) == (1, True, True)
    assert message.inserted_at < message.next_visible_at < message.expires_at
    async with client(queue) as other:
        assert (await other.get_queue_properties()).approximate_message_count == 0


async def test_a_listener_makes_the_queue(azurite, queue, recorder, listening):
    """And hands out what comes then."""
    handle = recorder()
    async with listening(open_listener(azurite, queue, SETTINGS, STORE), handle):
        await open_sender(azurite, queue, SETTINGS, STORE).send("x")
        await handle.until(1)


async def test_a_failed_message_is_tried_again_and_then_poison(azurite, client, queue, recorder, listening):
    """With its body as it was sent, and for ever."""

    async def fail(message):
        raise ValueError(message.body)

    settings = QueueSettings(max_dequeue_count=3, max_polling_interval=SETTINGS.max_polling_interval)
    handle = recorder(fail)
    await open_sender(azurite, queue, settings, STORE).send("bad")
    async with listening(open_listener(azurite, queue, settings, STORE), handle):
        await handle.until(3)
    assert [message.dequeue_count for message in handle.messages] == [1, 2, 3]
    assert await contents(client, queue) == []
    assert await contents(client, f"{queue}-poison") == [base64.b64encode(b"bad").decode()]


async def test_a_message_in_another_encoding_is_poison_at_once(azurite, client, queue, recorder, listening):
    """And holds up no other."""
    async with client(queue) as other:
        await other.create_queue()
        await other.send_message("no base64!")
    await open_sender(azurite, queue, SETTINGS, STORE).send("good")
    handle = recorder()
    async with listening(open_listener(azurite, queue, SETTINGS, STORE), handle):
        await handle.until(1)
    assert handle.bodies == [b"good"]
    assert await contents(client, f"{queue}-poison") == ["no base64!"]


async def test_a_message_of_a_busy_handler_stays_hidden(azurite, client, queue, recorder, listening, monkeypatch):
    """Renewing gives a new receipt, with which the message is deleted at the end."""
    renewed = asyncio.Event()
    renew = aio.QueueClient.update_message

    async def noted(*arguments, **options):
        result = await renew(*arguments, **options)
        renewed.set()
        return result

    monkeypatch.setattr(pump, "_RENEW_SECONDS", 0.05)
    monkeypatch.setattr(aio.QueueClient, "update_message", noted)
    handle = recorder(lambda _: renewed.wait())
    await open_sender(azurite, queue, SETTINGS, STORE).send("x")
    async with listening(open_listener(azurite, queue, SETTINGS, STORE), handle), asyncio.timeout(10):
        await handle.until(1)
        await renewed.wait()
    async with client(queue) as other:
        assert (await other.get_queue_properties()).approximate_message_count == 0


async def test_an_interrupted_message_comes_back_at_once(azurite, queue, recorder, listening, monkeypatch):
    """To the next listener."""
    monkeypatch.setattr(pump, "_DRAIN_SECONDS", 0.01)
    first, then = recorder(lambda _: asyncio.Event().wait()), recorder()
    await open_sender(azurite, queue, SETTINGS, STORE).send("x")
    for handle in (first, then):
        async with listening(open_listener(azurite, queue, SETTINGS, STORE), handle):
            await handle.until(1)
    assert [message.dequeue_count for message in then.messages] == [2]


async def test_bytes_that_are_no_text_need_base64(azurite, queue, recorder, listening):
    """As plain text they are refused."""
    plain = QueueSettings(is_base64=False)
    with pytest.raises(InvalidInputError):
        await open_sender(azurite, queue, plain, STORE).send(b"\xff")
    await open_sender(azurite, queue, SETTINGS, STORE).send(b"\xff\x00")
    handle = recorder()
    async with listening(open_listener(azurite, queue, SETTINGS, STORE), handle):
        await handle.until(1)
    assert handle.bodies == [b"\xff\x00"]


async def test_a_service_that_is_not_there(recorder, listening, monkeypatch, caplog):
    """Is said once, and looked for again: nothing takes its place."""
    tried = asyncio.Event()

    async def rest(self, error):
        await original(self, error)
        tried.set()

    original = pump.Pump._rest
    monkeypatch.setattr(pump.Pump, "_rest", rest)
    monkeypatch.setattr(pump, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("bide.functions.queues.storage._RETRIES", 0)
    connection = f"AccountName={ACCOUNT};AccountKey={KEY};QueueEndpoint=http://127.0.0.1:1/{ACCOUNT}"
    async with listening(open_listener(connection, "some", SETTINGS, STORE), recorder()), asyncio.timeout(10):
        for _ in range(2):
            tried.clear()
            await tried.wait()
    ours = [record.message for record in caplog.records if record.name.startswith("bide.")]
    assert len(ours) == 1
    assert ours[0].startswith("queue some: no messages for now")
