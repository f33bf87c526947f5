"""Commits: what is written is what is read, all or nothing, in order."""

import asyncio
from collections.abc import Callable

from bide.model.commit import Batch, Commit, Posted
from bide.model.failure import FailureDetails
from bide.model.instance import DeadLetter, DeadLetterReason, OrchestrationRuntimeStatus
from bide.store.base import Due, Store
from bide.testing.store_suite.fixtures import iid, inserted, opened, row, turn, wait, write

_COMPLETED = OrchestrationRuntimeStatus.COMPLETED


async def test_a_row_comes_back_as_it_was_written(store: Store) -> None:
    """Every column survives."""
    failure = FailureDetails("E", "m", "trace", FailureDetails("F", "n"), is_non_retriable=True)
    written = row(
        7, generation=3, version="2", parent_instance_id="p", tags={"a": "b"}, start_at=5, next_timer_at=6,
        is_active=True, output='"x"', custom_status="{}", failure=failure, buffered={"A": 2},
    )  # fmt: skip
    await write(store, Commit(iid=iid(7), insert=written, turn=turn(0)))
    [loaded] = await store.load(["i7", "nobody"])
    assert loaded.row == written
    assert loaded.turns == [turn(0)]


async def test_several_commits_of_one_instance_in_a_batch(store: Store) -> None:
    """They take effect in order."""
    await write(
        store,
        Commit(iid=iid(1), insert=row(1), turn=turn(0), waits_opened=(wait(1, 0, "A"),)),
        Commit(
            iid=iid(1),
            update=row(1, custom_status="1"),
            turn=turn(1),
            waits_closed=(0,),
            waits_opened=(wait(1, 1, "B"),),
        ),
        Commit(iid=iid(1), update=row(1, custom_status="2"), turn=turn(2)),
    )
    [loaded] = await store.load(["i1"])
    assert (loaded.row.custom_status, [each.seq for each in loaded.turns]) == ("2", [0, 1, 2])
    assert [each.name for each in (await store.waits()).items] == ["B"]


async def test_an_ended_instance_is_loaded_without_turns(store: Store) -> None:
    """Nobody will replay it; `turns` still has them."""
    await write(store, inserted(1, status=_COMPLETED))
    [loaded] = await store.load(["i1"])
    assert loaded.turns == []
    assert await store.turns("i1") == [turn(0)]


async def test_clearing_the_history_removes_the_turns_before(store: Store) -> None:
    """Whether they were stored before, or in the same batch; and all waits with them."""
    await write(store, inserted(1), Commit(iid=iid(1), turn=turn(1), waits_opened=(wait(1, 0, "A"),)))
    await write(
        store,
        Commit(iid=iid(1), turn=turn(2)),
        Commit(iid=iid(1), turn=turn(3), clear_history=True, waits_opened=(wait(1, 0, "B"),)),
    )
    assert await store.turns("i1") == [turn(3)]
    assert [each.name for each in (await store.waits()).items] == ["B"]


async def test_a_purge_removes_everything_but_dead_letters(store: Store) -> None:
    """And the id is free for another instance in the same batch."""
    letter = DeadLetter("i1", "A", "1", None, 1, 2, DeadLetterReason.UNCONSUMED)
    await write(
        store,
        Commit(
            iid=iid(1),
            insert=row(1),
            turn=turn(0),
            waits_opened=(wait(1, 0, "A"),),
            event_ids=("e",),
            dead_letters=(letter,),
        ),
    )
    await write(
        store, Commit(iid=iid(1), purge=True), Commit(iid=iid(2), insert=row(2, instance_id="i1"), turn=turn(0))
    )
    [loaded] = await store.load(["i1"])
    assert (loaded.row.iid, (await store.waits()).items) == (iid(2), [])
    assert await store.seen_event_ids([(iid(1), "e")]) == set()
    assert (await store.dead_letters()).items == [letter]


async def test_event_ids_are_remembered_by_instance(store: Store) -> None:
    """The same id on another instance is another event."""
    await write(store, Commit(iid=iid(1), insert=row(1), turn=turn(0), event_ids=("a", "b")))
    found = await store.seen_event_ids([(iid(1), "a"), (iid(1), "c"), (iid(2), "a")])
    assert found == {(iid(1), "a")}


async def test_the_inbox_keeps_messages_in_order(store: Store) -> None:
    """Until they are removed."""
    await write(store, inbox_added=[Posted(0, 2, b"two"), Posted(0, 1, b"one"), Posted(0, 3, b"\x00\xff")])
    await write(store, inbox_removed=[(0, 2)])
    assert await store.inbox() == [(1, b"one"), (3, b"\x00\xff")]
    assert await store.inbox(1) == [(1, b"one")]


async def test_iids_are_never_given_out_twice(store: Store, make_store: Callable[[], Store]) -> None:
    """Purged instances are remembered, also after a restart."""
    first = store.new_iid("i")
    assert store.new_iid("i") > first
    last = store.new_iid("i")
    await write(store, Commit(iid=last, insert=row(0, iid=last, instance_id="i"), turn=turn(0)))
    await write(store, Commit(iid=last, purge=True))
    await store.close()
    async with opened(make_store) as again:
        assert again.new_iid("i") > last


async def test_timers_are_due_earliest_first(store: Store) -> None:
    """Up to a limit, with the time of the next one."""
    await write(store, *(inserted(n, next_timer_at=100 - n) for n in range(1, 6)), inserted(9))
    assert await store.due(97, 10) == Due(["i5", "i4", "i3"], 98)
    assert await store.due(97, 2) == Due(["i5", "i4"], 97)
    assert await store.due(1000, 10) == Due(["i5", "i4", "i3", "i2", "i1"], None)


async def test_active_instances_go_by_pages(store: Store) -> None:
    """By iid, from above the one given."""
    await write(store, *(inserted(n, is_active=n % 2 == 0) for n in range(1, 9)))
    assert await store.active(0, 3) == [(iid(2), "i2"), (iid(4), "i4"), (iid(6), "i6")]
    assert await store.active(iid(6), 3) == [(iid(8), "i8")]


async def test_commits_need_not_be_waited_for(store: Store) -> None:
    """They are written in the order of the calls."""
    commits = [store.commit(Batch(commits=[inserted(1)]))]
    commits += [store.commit(Batch(commits=[Commit(iid=iid(1), turn=turn(seq))])) for seq in range(1, 20)]
    await asyncio.gather(*commits)
    assert [each.seq for each in await store.turns("i1")] == list(range(20))


async def test_what_was_committed_survives_a_restart(store: Store, make_store: Callable[[], Store]) -> None:
    """Closing and opening again changes nothing."""
    await write(store, inserted(1), inbox_added=[Posted(0, 1, b"m")])
    before = await store.get("i1")
    await store.close()
    async with opened(make_store) as again:
        assert await again.get("i1") == before
        assert await again.inbox() == [(1, b"m")]
