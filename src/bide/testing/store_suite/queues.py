"""Message queues: delivered in order, at least once, and settled by whoever holds the current receipt."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from bide.errors import InvalidInputError
from bide.model.queue import QueueMessage
from bide.store.base import Store
from bide.testing.store_suite.fixtures import opened


async def deliver(store: Store, now: int = 100, visible_at: int = 200, limit: int = 10) -> list[QueueMessage]:
    """Take from the queue "q"."""
    return await store.dequeue("q", now, visible_at, limit)


def held(message: QueueMessage) -> str:
    assert message.receipt is not None
    return message.receipt


async def test_a_delivered_message_is_hidden_counted_and_has_a_receipt(store: Store) -> None:
    """Until it is visible again, and then with another receipt."""
    message_id = await store.enqueue("q", "b\u00f6dy", visible_at=10, inserted_at=5, expires_at=900)
    [first] = await deliver(store)
    assert first == QueueMessage(message_id, "q", "b\u00f6dy", 5, 1, first.receipt, 200, 900)
    assert await deliver(store, now=199) == []
    [second] = await deliver(store, now=200, visible_at=300)
    assert second == replace(first, dequeue_count=2, receipt=second.receipt, visible_at=300)
    assert held(second) != held(first)


async def test_messages_are_delivered_in_the_order_in_which_they_became_visible(store: Store) -> None:
    """Of equals the one sent first; up to the limit; of this queue only."""
    for body, visible_at in (("late", 90), ("first", 10), ("second", 10), ("third", 20), ("future", 101)):
        await store.enqueue("q", body, visible_at=visible_at)
    await store.enqueue("other", "x", visible_at=1)
    assert [message.body for message in await store.peek("q", 9)] == ["first", "second", "third", "late", "future"]
    assert [message.body for message in await deliver(store, limit=3)] == ["first", "second", "third"]
    assert [message.body for message in await deliver(store, limit=3)] == ["late"]


async def test_a_message_is_deleted_with_the_current_receipt_only(store: Store) -> None:
    """Also when it is visible again, as long as nobody else has got it."""
    message_id = await store.enqueue("q", "x", visible_at=1)
    assert not await store.delete_message(message_id, "made up")
    [first] = await deliver(store)
    [second] = await deliver(store, now=200, visible_at=300)
    assert not await store.delete_message(message_id, held(first))
    assert await store.delete_message(message_id, held(second))
    assert not await store.delete_message(message_id, held(second))
    assert await store.queue_lengths() == {}


async def test_a_released_message_is_visible_from_the_time_given(store: Store) -> None:
    """Its holder may hide it for longer, as often as he likes."""
    message_id = await store.enqueue("q", "x", visible_at=1)
    [message] = await deliver(store)
    assert await store.release_message(message_id, held(message), 500)
    assert await deliver(store, now=499) == []
    assert await store.release_message(message_id, held(message), 50)
    [again] = await deliver(store)
    assert not await store.release_message(message_id, held(message), 1)
    assert again.dequeue_count == 2


async def test_a_moved_message_is_new_in_the_other_queue(store: Store) -> None:
    """It keeps its id and age, and nobody holds it any more; it does not expire."""
    message_id = await store.enqueue("q", "x", visible_at=9, inserted_at=5, expires_at=900)
    [message] = await deliver(store)
    assert await store.move_message(message_id, held(message), "q-poison")
    assert not await store.move_message(message_id, held(message), "q")
    assert await store.peek("q-poison", 1) == [QueueMessage(message_id, "q-poison", "x", 5, 0, None, 5)]
    assert await store.queue_lengths() == {"q-poison": 1}


async def test_expired_messages_are_not_delivered_and_are_removed(store: Store) -> None:
    """Whether visible or hidden."""
    await store.enqueue("q", "old", visible_at=1, expires_at=100)
    await store.enqueue("q", "hidden", visible_at=900, expires_at=99)
    await store.enqueue("q", "fresh", visible_at=1, expires_at=101)
    assert [message.body for message in await deliver(store)] == ["fresh"]
    assert await store.queue_lengths() == {"q": 1}


async def test_a_queue_tells_its_length_and_when_to_look_again(store: Store) -> None:
    """Hidden messages count; an empty queue is none."""
    assert (await store.queue_lengths(), await store.next_visible_at("q")) == ({}, None)
    await store.enqueue("q", "later", visible_at=150)
    await store.enqueue("q", "sooner", visible_at=50)
    await store.enqueue("a", "x", visible_at=1)
    assert list((await store.queue_lengths()).items()) == [("a", 1), ("q", 2)]
    assert await store.next_visible_at("q") == 50
    await deliver(store)
    assert await store.next_visible_at("q") == 150


async def test_watchers_of_a_queue_learn_what_arrives(store: Store) -> None:
    """Each of them, at once in the process that adds it, by every way in which a message comes; of their own queue only."""
    with store.watch_queue("q") as one, store.watch_queue("q") as two, store.watch_queue("other") as other:
        message_id = await store.enqueue("q", "x", visible_at=1)
        assert (one.is_set(), two.is_set(), other.is_set()) == (True, True, False)
        [message] = await deliver(store)
        one.clear()
        await store.release_message(message_id, held(message), 2)
        assert one.is_set()
        await store.move_message(message_id, held(message), "other")
        assert other.is_set()


async def test_text_that_cannot_be_stored_is_refused(store: Store) -> None:
    """With an error of the caller's; the store goes on."""
    for queue, body in (("q", "\ud800"), ("q", "a\0b"), ("\ud800", "x")):
        with pytest.raises(InvalidInputError):
            await store.enqueue(queue, body, visible_at=1)
    await store.enqueue("q", "", visible_at=1)
    assert await store.queue_lengths() == {"q": 1}


async def test_messages_survive_a_restart(store: Store, make_store: Callable[[], Store]) -> None:
    """As they were, hidden ones too; ids are never given out again."""
    first_id = await store.enqueue("q", "a", visible_at=1)
    last_id = await store.enqueue("q", "b", visible_at=2)
    [_, last] = await deliver(store)
    assert await store.delete_message(last_id, held(last))
    before = await store.peek("q", 9)
    await store.close()
    async with opened(make_store) as again:
        assert await again.peek("q", 9) == before
        assert [message.id for message in before] == [first_id]
        assert await again.enqueue("q", "c", visible_at=1) > last_id
