"""Queues in bide's own store: at least once, so many at a time, so often, and at once."""

import asyncio
from datetime import timedelta

import pytest

from bide import App, Hub, InvalidInputError, StoreUnavailableError
from bide.functions.queues import open_listener, open_sender, pump
from bide.functions.settings import QueueSettings
from bide.model.clock import SECOND, to_datetime
from bide.testing.harness import VirtualClock

DEFAULTS = QueueSettings()


@pytest.fixture
def clock():
    return VirtualClock()


async def test_messages_are_handled_and_removed(store, clock, recorder, listening):
    """In order, with what the trigger shows of a message."""
    sender = open_sender(None, "q", DEFAULTS, store, clock=clock)
    await sender.send("eins")
    await sender.send(b"zw\xc3\xb6lf")
    handle = recorder()
    async with listening(open_listener("", "q", DEFAULTS, store, clock=clock), handle):
        await handle.until(2)
    assert handle.bodies == [b"eins", "zwölf".encode()]
    first = handle.messages[0]
    assert (first.id, first.dequeue_count, first.expires_at) == ("1", 1, None)
    assert first.inserted_at == to_datetime(clock.now())
    assert first.next_visible_at == to_datetime(clock.now() + pump.LEASE_SECONDS * SECOND)
    assert first.pop_receipt
    assert await store.queue_lengths() == {}


async def test_what_is_sent_in_this_process_is_handled_at_once(store, clock, recorder, listening):
    """The clock stands still: no poll finds it."""
    handle = recorder()
    listener = open_listener(None, "q", DEFAULTS, store, clock=clock)
    async with listening(listener, handle), open_sender(None, "q", DEFAULTS, store, clock=clock) as sender:
        for number in range(3):
            await sender.send(str(number))
            await handle.until(number + 1)
    assert handle.bodies == [b"0", b"1", b"2"]


async def test_a_delayed_message_is_handled_when_its_time_has_come(store, clock, recorder, listening):
    """And not before."""
    sender = open_sender(None, "q", DEFAULTS, store, clock=clock)
    handle = recorder()
    async with listening(open_listener(None, "q", DEFAULTS, store, clock=clock), handle):
        await sender.send("later", delay=timedelta(hours=1))
        await sender.send("now")
        await handle.until(1)
        assert handle.bodies == [b"now"]
        await settle(store)
        clock.move_to(clock.now() + 3599 * SECOND)
        await settle(store)
        assert handle.bodies == [b"now"]
        clock.move_to(clock.now() + SECOND)
        await handle.until(2)
    assert handle.bodies == [b"now", b"later"]


async def test_a_failed_message_is_tried_again_and_then_poison(store, clock, recorder, listening):
    """After the visibility timeout each time; after the last attempt it is in the poison queue, as new."""
    settings = QueueSettings(max_dequeue_count=3, visibility_timeout=timedelta(seconds=30))

    async def fail(message):
        raise ValueError(message.body)

    handle = recorder(fail)
    await open_sender(None, "q", settings, store, clock=clock).send("bad")
    start = clock.now()
    async with listening(open_listener(None, "q", settings, store, clock=clock), handle):
        for attempt in (1, 2):
            await handle.until(attempt)
            await settle(store)
            assert clock.next_alarm() == start + attempt * 30 * SECOND
            clock.move_to(clock.next_alarm())
        await handle.until(3)
    assert [message.dequeue_count for message in handle.messages] == [1, 2, 3]
    [poison] = await store.peek("q-poison", 9)
    assert (poison.body, poison.dequeue_count) == ("bad", 0)
    assert await store.queue_lengths() == {"q-poison": 1}


async def test_a_message_that_killed_its_process_too_often_is_not_tried_again(store, clock, recorder, listening):
    """It goes to the poison queue without a call."""
    await store.enqueue("q", "killer", visible_at=1)
    for now in range(1, 6):
        await store.dequeue("q", now, now + 1, 1)
    handle = recorder()
    with store.watch_queue("q-poison") as moved:
        async with listening(open_listener(None, "q", DEFAULTS, store, clock=clock), handle), asyncio.timeout(5):
            await moved.wait()
    assert handle.messages == []


async def test_so_many_at_a_time(store, clock, recorder, listening):
    """`batch_size` at the most; new ones are taken when fewer than half as many run."""
    for number in range(10):
        await store.enqueue("q", str(number), visible_at=1)
    gates = {str(number).encode(): asyncio.Event() for number in range(10)}

    async def wait(message):
        await gates[message.body].wait()

    handle = recorder(wait)
    listener = open_listener(None, "q", QueueSettings(batch_size=4), store, clock=clock)
    async with listening(listener, handle):
        await handle.until(4)
        for number in (2, 0):
            gates[str(number).encode()].set()
            await settle(store)
            assert len(handle.messages) == 4
        gates[b"1"].set()
        await handle.until(7)
        await settle(store)
        assert len(handle.messages) == 7
        for gate in gates.values():
            gate.set()
        await handle.until(10)
    assert sorted(handle.bodies) == sorted(gates)
    assert await store.queue_lengths() == {}


async def test_a_listener_that_stops_lets_handlers_finish(store, clock, recorder, listening):
    """Their messages are removed; nothing new is taken."""
    finish = asyncio.Event()
    handle = recorder(lambda _: finish.wait())
    for body in "ab":
        await store.enqueue("q", body, visible_at=1)
    async with listening(open_listener(None, "q", QueueSettings(batch_size=1), store, clock=clock), handle) as task:
        await handle.until(1)
        task.cancel()
        await settle(store)
        assert not task.done()
        finish.set()
    assert [message.body for message in await store.peek("q", 9)] == ["b"]


async def test_an_interrupted_message_is_handled_after_a_restart(make_store, clock, recorder, listening, monkeypatch):
    """A handler that takes too long to finish is cancelled, and its message is visible at once."""
    monkeypatch.setattr(pump, "_DRAIN_SECONDS", 0.01)
    first, then = recorder(lambda _: asyncio.Event().wait()), recorder()
    for handle in (first, then):
        store = make_store()
        await store.open()
        if handle is first:
            await store.enqueue("q", "x", visible_at=1)
        async with listening(open_listener(None, "q", DEFAULTS, store, clock=clock), handle):
            await handle.until(1)
        lengths = await store.queue_lengths()
        await store.close()
    assert (then.bodies, then.messages[0].dequeue_count, lengths) == ([b"x"], 2, {})


async def test_a_message_of_a_busy_handler_stays_hidden(store, clock, recorder, listening, monkeypatch):
    """It is renewed while the handler runs; nobody else gets it."""
    monkeypatch.setattr(pump, "_RENEW_SECONDS", 0.01)
    finish = asyncio.Event()
    handle = recorder(lambda _: finish.wait())
    await store.enqueue("q", "x", visible_at=1)
    async with listening(open_listener(None, "q", DEFAULTS, store, clock=clock), handle), asyncio.timeout(5):
        await handle.until(1)
        for _ in range(3):
            clock.move_to(clock.now() + (pump.LEASE_SECONDS - 1) * SECOND)
            with store.watch_queue("q") as renewed:
                await renewed.wait()
            [message] = await store.peek("q", 1)
            assert message.visible_at == clock.now() + pump.LEASE_SECONDS * SECOND
        finish.set()
    assert len(handle.messages) == 1
    assert await store.queue_lengths() == {}


async def test_messages_taken_while_the_listener_stops_are_given_back(store, clock, recorder, listening, monkeypatch):
    """A request under way when it is cancelled brings messages that nobody will handle."""
    asked, answer = asyncio.Event(), asyncio.Event()
    dequeue = store.dequeue

    async def slow(*arguments):
        asked.set()
        await answer.wait()
        return await dequeue(*arguments)

    monkeypatch.setattr(store, "dequeue", slow)
    await store.enqueue("q", "x", visible_at=1)
    async with listening(open_listener(None, "q", DEFAULTS, store, clock=clock), recorder()) as task:
        await asked.wait()
        task.cancel()
        await settle(store)
        answer.set()
    [message] = await store.peek("q", 1)
    assert (message.dequeue_count, message.visible_at) == (1, clock.now())


async def test_a_store_that_fails_is_asked_again(store, clock, recorder, listening, monkeypatch, caplog):
    """It is said once that something is wrong, and once that it is over."""
    monkeypatch.setattr(pump, "_FIRST_PAUSE_SECONDS", 0.001)
    dequeue, failures = store.dequeue, iter([True, True, True, False])

    async def failing(*arguments):
        if next(failures, False):
            raise StoreUnavailableError("The disk is full.")
        return await dequeue(*arguments)

    monkeypatch.setattr(store, "dequeue", failing)
    await store.enqueue("q", "x", visible_at=1)
    handle = recorder()
    async with listening(open_listener(None, "q", DEFAULTS, store, clock=clock), handle):
        await handle.until(1)
    assert [record.message for record in caplog.records] == [
        "queue q: no messages for now: The disk is full.",
        "queue q: messages come again",
    ]


async def test_a_handler_that_cancels_itself_has_failed(store, clock, recorder, listening):
    """As any other that does not return."""

    async def cancel(message):
        raise asyncio.CancelledError

    handle = recorder(cancel)
    await store.enqueue("q", "x", visible_at=1)
    async with listening(open_listener(None, "q", QueueSettings(max_dequeue_count=2), store, clock=clock), handle):
        await handle.until(2)
    assert await store.queue_lengths() == {"q-poison": 1}


async def test_what_cannot_be_sent(store):
    """Bytes that are no text, and delays that make no sense, are refused."""
    sender = open_sender(None, "q", DEFAULTS, store)
    for body, delay in ((b"\xff", None), ("x", -1), ("x", float("nan")), ("x", float("inf")), ("\ud800", 0)):
        with pytest.raises(InvalidInputError):
            await sender.send(body, delay)
    with pytest.raises(InvalidInputError):
        open_sender(None, " ", DEFAULTS, store)
    assert await store.queue_lengths() == {}


async def test_a_message_sent_through_the_hubs_client_is_handled_at_once(make_store, recorder, listening):
    """Client and listener know each other by the store only."""
    handle = recorder()
    async with Hub(App(), make_store()) as hub, listening(open_listener(None, "q", DEFAULTS, hub.store), handle):
        message_id = await hub.client.send_queue_message("q", "hello")
        await handle.until(1, seconds=1)
    assert (handle.messages[0].id, handle.bodies) == (message_id, [b"hello"])


async def settle(store):
    """Let the loop and the store's thread do what they have to do: each value stands in line behind what came before."""
    for _ in range(10):
        await store.put_setting("settled", None)
        for _ in range(10):
            await asyncio.sleep(0)
