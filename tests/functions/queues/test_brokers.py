"""Message brokers, on real servers: what is handled is gone, what is not comes back."""

import asyncio
from uuid import uuid4

import pytest
from tests.functions.queues import servers

from bide import ConfigurationError
from bide.functions.queues import open_listener, open_sender, pump
from bide.functions.settings import QueueSettings
from bide.store import MemoryStore

pytest.importorskip("faststream")
STORE = MemoryStore()
SETTINGS = QueueSettings()


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    pytest.importorskip("redis")
    port = servers.free_port()
    options = ["--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"]
    command = [servers.program("redis-server", "redis-server"), *options]
    with servers.running(command, "Ready to accept connections", tmp_path_factory.mktemp("redis")):
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def nats(tmp_path_factory):
    pytest.importorskip("nats")
    folder = tmp_path_factory.mktemp("nats")
    command = [servers.program("nats-server", "nats-server"), "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", folder]
    with servers.running(command, r"Listening for client connections on (\S+)", folder) as match:
        yield f"nats://{match[1]}"


@pytest.fixture(params=["redis", "nats"])
def url(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def queue():
    return f"orders.{uuid4().hex}"


async def test_messages_are_delivered_and_removed(url, queue, recorder, listening):
    """Also those that were sent before anybody listened; none comes twice."""
    sender = open_sender(url, queue, SETTINGS, STORE)
    await sender.send("eins")
    first, then = recorder(), recorder()
    async with listening(open_listener(url, queue, SETTINGS, STORE), first):
        async with sender:
            await sender.send("zwölf")
            await sender.send(b"\xff\x00")
        await first.until(3)
    await sender.send("last")
    async with listening(open_listener(url, queue, SETTINGS, STORE), then):
        await then.until(1)
    assert first.bodies == [b"eins", "zwölf".encode(), b"\xff\x00"]
    assert {message.dequeue_count for message in first.messages} == {1}
    assert then.bodies == [b"last"]


async def test_a_failed_message_is_tried_again_and_then_poison(url, queue, recorder, listening):
    """The poison queue is a queue like any other."""

    async def fail(message):
        raise ValueError(message.body)

    settings = QueueSettings(max_dequeue_count=3)
    handle, poison = recorder(fail), recorder()
    await open_sender(url, queue, settings, STORE).send("bad")
    async with listening(open_listener(url, queue, settings, STORE), handle):
        await handle.until(3)
        async with listening(open_listener(url, f"{queue}-poison", settings, STORE), poison):
            await poison.until(1)
    assert [message.dequeue_count for message in handle.messages] == [1, 2, 3]
    assert poison.bodies == [b"bad"]


async def test_so_many_at_a_time(url, queue, recorder, listening):
    """`batch_size` at the most, whatever the broker holds."""
    running, most, gate = 0, 0, asyncio.Event()

    async def count(message):
        nonlocal running, most
        running += 1
        most = max(most, running)
        if most == 3:
            gate.set()
        await gate.wait()
        running -= 1

    async with open_sender(url, queue, SETTINGS, STORE) as sender:
        for number in range(10):
            await sender.send(str(number))
    handle = recorder(count)
    async with listening(open_listener(url, queue, QueueSettings(batch_size=5), STORE), handle):
        await handle.until(10)
    assert 3 <= most <= 5
    assert len(set(handle.bodies)) == 10


async def test_an_interrupted_message_comes_back(url, queue, recorder, listening, monkeypatch):
    """To the next listener."""
    monkeypatch.setattr(pump, "_DRAIN_SECONDS", 0.01)
    first, then = recorder(lambda _: asyncio.Event().wait()), recorder()
    await open_sender(url, queue, SETTINGS, STORE).send("x")
    for handle in (first, then):
        async with listening(open_listener(url, queue, SETTINGS, STORE), handle):
            await handle.until(1)
    assert then.bodies == [b"x"]


async def test_the_message_of_a_dead_process_is_claimed(redis, queue, recorder, listening, monkeypatch):
    """Once nobody has renewed it for the length of a lease; while somebody does, it is not."""
    module = pytest.importorskip("bide.functions.queues.brokers.redis", exc_type=ImportError)
    monkeypatch.setattr(module, "_LEASE_MS", 300)
    monkeypatch.setattr(module, "_CLAIM_SECONDS", 0.05)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(pump, "_RENEW_SECONDS", 0.05)
    await open_sender(redis, queue, SETTINGS, STORE).send("x")
    connection = module.RedisConnection(redis, queue)
    await connection.open(prefetch=1)
    abandoned = await anext(connection.receive())
    await connection.close()
    assert abandoned.body == b"x"
    rounds = asyncio.Event()
    claims = 0
    original = module.RedisConnection.renew

    async def renew(self, message):
        nonlocal claims
        await original(self, message)
        claims += 1
        if claims == 10:  # longer than the lease
            rounds.set()

    monkeypatch.setattr(module.RedisConnection, "renew", renew)
    handle = recorder(lambda _: rounds.wait())
    async with listening(open_listener(redis, queue, SETTINGS, STORE), handle), asyncio.timeout(10):
        await handle.until(1)
        await rounds.wait()
    assert [message.dequeue_count for message in handle.messages] == [2]


async def test_a_broker_that_is_not_there(recorder, listening, monkeypatch, caplog):
    """Is said once, and looked for again; a sender's caller is told."""
    pytest.importorskip("redis")
    tried = asyncio.Event()
    original = pump.Pump._rest

    async def rest(self, error):
        await original(self, error)
        tried.set()

    monkeypatch.setattr(pump.Pump, "_rest", rest)
    monkeypatch.setattr(pump, "_FIRST_PAUSE_SECONDS", 0.001)
    url = "redis://127.0.0.1:1"
    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        await open_sender(url, "some", SETTINGS, STORE).send("x")
    async with listening(open_listener(url, "some", SETTINGS, STORE), recorder()), asyncio.timeout(15):
        for _ in range(2):
            tried.clear()
            await tried.wait()
    ours = [record.message for record in caplog.records if record.name == "bide.functions.queues"]
    assert len(ours) == 1
    assert ours[0].startswith("queue some: no messages for now")


@pytest.mark.parametrize("url", ["kafka://user:pw@host", "kafka://", "kafka://host/topic"])
@pytest.mark.parametrize("opening", [open_listener, open_sender])
def test_addresses_of_kafka_that_are_not_understood(opening, url):
    pytest.importorskip("confluent_kafka")
    with pytest.raises(ConfigurationError, match="host:9092") as caught:
        opening(url, "q", SETTINGS, STORE)
    assert "pw" not in str(caught.value)
