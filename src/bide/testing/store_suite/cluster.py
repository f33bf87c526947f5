"""Several nodes on one store: the contract of `bide.store.cluster.SharedStore` as tests.

A store passes them with a module such as::

    from bide.testing.store_suite.cluster import *

    @pytest.fixture
    def make_node(tmp_path):
        return lambda: MyStore(tmp_path / "x", partitions=4)

    @pytest.fixture
    def expire(tmp_path):
        ...

`make_node` returns a new object on the same data each time it is called, of a store with four partitions. `expire` is a coroutine
function that makes all leases, and all nodes' memberships, run out now.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from itertools import count

import pytest

from bide.errors import LeaseLostError
from bide.model.commit import ActivityKey, Batch, Commit, OfferedActivity, Posted, Reply
from bide.model.instance import InstanceRow, OrchestrationRuntimeStatus
from bide.model.nodes import NodeLoad, NodeRole
from bide.model.partitions import partition_of, partition_of_iid
from bide.store.base import InstanceFilter
from bide.store.cluster import SharedStore
from bide.testing.store_suite.fixtures import TTL, row, turn

PARTITIONS = 4
_PATIENCE = 20  # seconds; a test that waits for something that never comes fails

Expire = Callable[[], Awaitable[None]]


class Ears:
    """A `Listener` that remembers what it has heard, by kind."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, str]] = []
        self._heard: Counter[str] = Counter()
        self._news = asyncio.Event()

    def on_messages(self) -> None:
        self._hear("messages")

    def on_reply(self, request: int, data: str) -> None:
        self.replies.append((request, data))
        self._hear("reply")

    def on_activities(self) -> None:
        self._hear("activities")

    def on_change(self) -> None:
        self._hear("change")

    def on_gap(self) -> None:
        self._hear("gap")

    def _hear(self, kind: str) -> None:
        self._heard[kind] += 1
        self._news.set()

    def forget(self) -> None:
        """Count anew."""
        self._heard.clear()

    async def hears(self, kind: str, times: int = 1) -> None:
        """Wait until it has heard that so often."""
        async with asyncio.timeout(_PATIENCE):
            while self._heard[kind] < times:
                self._news.clear()
                await self._news.wait()


class Node:
    """A store that has joined."""

    def __init__(self, store: SharedStore, ears: Ears, number: int) -> None:
        self.store = store
        self.ears = ears
        self.number = number

    def id_in(self, partition: int) -> str:
        """Make an instance id of that partition."""
        return next(name for name in map("x{}".format, count()) if partition_of(name, PARTITIONS) == partition)

    def new(self, partition: int, **fields: object) -> InstanceRow:
        """Make the row of a new instance in that partition."""
        instance_id = self.id_in(partition)
        return row(0, iid=self.store.new_iid(instance_id), instance_id=instance_id, **fields)

    async def start(self, partition: int, **fields: object) -> InstanceRow:
        """Store a new instance in that partition."""
        new = self.new(partition, **fields)
        await self.store.commit(Batch(commits=[Commit(iid=new.iid, insert=new, turn=turn(0))]))
        return new

    async def offer(self, *activities: OfferedActivity) -> None:
        await self.store.commit(Batch(activities_added=list(activities)))

    async def take(self, limit: int = 10, **names: int | None) -> list[str]:
        """Claim activities, any named `a` unless told otherwise; their data."""
        claimed = await self.store.claim_activities(names or {"a": None}, limit, TTL)
        return [each.data.decode() for each in claimed]


Join = Callable[..., Awaitable[Node]]


@pytest.fixture
async def join(make_node: Callable[[], SharedStore]) -> AsyncIterator[Join]:
    """A function that makes a node, with partitions if it is told to claim some."""
    async with AsyncExitStack() as stack:

        async def join(name: str = "node", *, claim: Collection[int] = (), role: NodeRole = NodeRole.ALL) -> Node:
            store = make_node()
            await store.open()
            stack.push_async_callback(store.close)
            assert store.partitions == PARTITIONS
            ears = Ears()
            node = Node(store, ears, await store.join(name, role, TTL, ears))
            if claim:
                assert await store.claim(claim, TTL) == frozenset(claim)
            return node

        yield join


def activity(instance: InstanceRow, task_id: int, data: str = "", *, name: str = "a") -> OfferedActivity:
    key = ActivityKey(instance.iid, instance.execution_id, task_id)
    return OfferedActivity(key, instance.instance_id, name, data.encode())


# Nodes


async def test_nodes_know_each_other(join: Join) -> None:
    """By number, which grows, name and role; they hear who comes and goes."""
    one = await join("one")
    one.ears.forget()
    two = await join("two", role=NodeRole.ACTIVITIES)
    await one.ears.hears("change")
    assert two.number > one.number
    state = await two.store.state()
    assert [(node.number, node.name, node.role) for node in state.nodes] == [
        (one.number, "one", NodeRole.ALL),
        (two.number, "two", NodeRole.ACTIVITIES),
    ]
    one.ears.forget()
    await two.store.leave()
    await one.ears.hears("change")
    assert [node.number for node in (await one.store.state()).nodes] == [one.number]
    await two.store.leave()


async def test_a_beat_tells_how_busy_a_node_is(join: Join) -> None:
    """And returns what everybody may see."""
    one, two = await join(), await join(claim=[1])
    load = NodeLoad(backlog=1, resident=2, running=3, rate=4.5)
    state = await one.store.beat(TTL, load)
    assert state == await two.store.state()
    assert [node.load for node in state.nodes] == [load, NodeLoad()]
    assert state.nodes[0].seen_at >= state.nodes[0].joined_at
    assert [(lease.partition, lease.node, lease.is_free) for lease in state.leases] == [
        (0, None, True), (1, two.number, False), (2, None, True), (3, None, True)
    ]  # fmt: skip


async def test_a_node_that_is_silent_is_gone(join: Join, expire: Expire) -> None:
    """Until it is heard of again, under the same number."""
    one, two = await join(), await join()
    await expire()
    assert [node.number for node in (await two.store.beat(TTL, NodeLoad())).nodes] == [two.number]
    state = await one.store.beat(TTL, NodeLoad())
    assert [node.number for node in state.nodes] == [one.number, two.number]


async def test_who_is_known_to_be_dead_is_gone_at_once(join: Join) -> None:
    """What it had is free; if it lives after all it cannot write, and learns it with its next beat."""
    one, two = await join(claim=[0, 1]), await join()
    instance = await one.start(0)
    await one.offer(activity(instance, 1, "A"))
    assert await one.take() == ["A"]
    await two.store.bury(one.number)
    assert [node.number for node in (await two.store.beat(TTL, NodeLoad())).nodes] == [two.number]
    assert await two.store.claim([0], TTL) == {0}
    assert await two.take() == ["A"]
    with pytest.raises(LeaseLostError):
        await one.store.commit(Batch(commits=[Commit(iid=instance.iid, turn=turn(1))]))
    assert {node.number for node in (await one.store.beat(TTL, NodeLoad())).nodes} == {one.number, two.number}
    assert one.store.held == frozenset()


async def test_a_node_tells_which_process_it_is(make_node: Callable[[], SharedStore]) -> None:
    """Those who know the machine can tell whether it lives."""
    store = make_node()
    await store.open()
    try:
        await store.join("node", NodeRole.ALL, TTL, Ears(), "this one")
        assert [node.process for node in (await store.state()).nodes] == ["this one"]
        assert [node.process for node in (await store.beat(TTL, NodeLoad())).nodes] == ["this one"]
    finally:
        await store.close()


# Leases


async def test_free_partitions_can_be_claimed(join: Join) -> None:
    """Those that somebody has cannot; every claim raises the epoch."""
    one, two = await join(), await join()
    assert await one.store.claim([0, 1], TTL) == {0, 1}
    assert await two.store.claim([1, 2], TTL) == {2}
    assert one.store.held == {0, 1}
    assert two.store.held == {2}
    before = (await one.store.state()).leases
    await one.store.release([1])
    assert await two.store.claim([1], TTL) == {1}
    after = (await one.store.state()).leases
    assert after[0].epoch == before[0].epoch
    assert after[1].epoch > before[1].epoch


async def test_two_who_claim_at_the_same_time_get_different_partitions(join: Join) -> None:
    """Each of them is given out once."""
    nodes = [await join() for _ in range(3)]
    claimed = await asyncio.gather(*(node.store.claim(range(PARTITIONS), TTL) for node in nodes))
    assert sorted(partition for each in claimed for partition in each) == list(range(PARTITIONS))
    assert [node.store.held for node in nodes] == list(claimed)


async def test_what_is_released_is_free_at_once(join: Join) -> None:
    """Others hear of it."""
    one, two = await join(claim=[0, 1]), await join()
    two.ears.forget()
    await one.store.release([0])
    assert one.store.held == {1}
    await two.ears.hears("change")
    assert await two.store.claim(range(PARTITIONS), TTL) == {0, 2, 3}


async def test_who_leaves_gives_everything_back(join: Join) -> None:
    """Partitions, and activities that it has not ended."""
    one, two = await join(claim=[0]), await join()
    await one.offer(activity(await one.start(0), 1, "A"))
    assert await one.take() == ["A"]
    two.ears.forget()
    await one.store.leave()
    await two.ears.hears("activities")
    assert one.store.held == frozenset()
    assert await two.store.claim([0], TTL) == {0}
    assert await two.take() == ["A"]


async def test_closing_gives_everything_back(join: Join) -> None:
    """Like leaving."""
    one, two = await join(claim=[0]), await join()
    await one.store.close()
    assert await two.store.claim([0], TTL) == {0}
    assert [node.number for node in (await two.store.state()).nodes] == [two.number]


async def test_a_former_owner_cannot_write(join: Join, expire: Expire) -> None:
    """Whatever it believes: its commits fail as a whole, and its next beat tells it what it has lost."""
    one, two = await join(claim=[0, 1]), await join()
    kept = await one.start(0)
    await expire()
    assert await two.store.claim([1], TTL) == {1}
    lost = one.new(1)
    commits = [Commit(iid=kept.iid, turn=turn(1)), Commit(iid=lost.iid, insert=lost, turn=turn(0))]
    with pytest.raises(LeaseLostError):
        await one.store.commit(Batch(commits=commits, inbox_added=[Posted(2, 1, b"x")]))
    assert await two.store.get(lost.instance_id) is None
    assert len(await two.store.turns(kept.instance_id)) == 1
    assert (await two.store.state()).inbox == {}
    await one.store.beat(TTL, NodeLoad())
    assert one.store.held == {0}
    await one.store.commit(Batch(commits=commits[:1]))


async def test_a_lease_that_ran_out_is_extended_when_nobody_wanted_it(join: Join, expire: Expire) -> None:
    """By the next beat; then nobody can claim it."""
    one, two = await join(claim=[0]), await join()
    await expire()
    await one.store.beat(TTL, NodeLoad())
    assert one.store.held == {0}
    assert await two.store.claim([0], TTL) == frozenset()
    await one.start(0)


async def test_what_is_not_held_cannot_be_changed(join: Join) -> None:
    """Neither an instance, nor a message, nor by offering activities."""
    one, two = await join(claim=[0]), await join(claim=[1])
    other = await two.start(1)
    for batch in (
        Batch(commits=[Commit(iid=other.iid, turn=turn(1))]),
        Batch(inbox_removed=[(1, 1)]),
        Batch(activities_added=[activity(other, 1)]),
    ):
        with pytest.raises(LeaseLostError):
            await one.store.commit(batch)
    with pytest.raises(LeaseLostError):
        one.store.new_iid(other.instance_id)


async def test_iids_tell_their_partition_and_are_never_given_out_twice(join: Join) -> None:
    """Not by another owner either."""
    one, two = await join(claim=[2]), await join()
    first = one.new(2).iid
    await one.store.release([2])
    await two.store.claim([2], TTL)
    second = two.new(2).iid
    await two.store.release([2])
    await one.store.claim([2], TTL)
    third = one.new(2).iid
    assert partition_of_iid(first) == partition_of_iid(second) == partition_of_iid(third) == 2
    assert first < second < third


async def test_an_owner_sees_its_own_partitions_and_queries_see_all(join: Join) -> None:
    """Timers, active instances and messages are their owner's."""
    one, two = await join(claim=[0]), await join(claim=[1])
    mine = await one.start(0, next_timer_at=5, is_active=True)
    other = await two.start(1, next_timer_at=4, is_active=True)
    await one.store.commit(Batch(inbox_added=[Posted(0, 1, b"0"), Posted(1, 2, b"1")]))
    assert (await one.store.due(9, 9)).instance_ids == [mine.instance_id]
    assert await two.store.active(0, 9) == [(other.iid, other.instance_id)]
    assert (await one.store.inbox(), await two.store.inbox()) == ([(1, b"0")], [(2, b"1")])
    found = (await one.store.query(InstanceFilter())).items
    assert {each.row.instance_id for each in found} == {mine.instance_id, other.instance_id}


# Messages and replies


async def test_a_message_to_another_partition_is_heard_by_its_owner(join: Join) -> None:
    """Also when who sends it owns nothing. It is there when it is heard of, and whoever handles it removes it."""
    owner, client = await join(claim=[0, 1]), await join()
    await client.store.commit(Batch(inbox_added=[Posted(1, 7, b"hello")]))
    await owner.ears.hears("messages")
    assert await owner.store.inbox() == [(7, b"hello")]
    assert (await client.store.state()).inbox == {1: 1}
    await owner.store.commit(Batch(inbox_removed=[(1, 7)]))
    assert await owner.store.inbox() == []


async def test_who_claims_a_partition_hears_of_its_messages(join: Join) -> None:
    """Those that came before are there; of those that come after there are notices."""
    one, two = await join(claim=[0]), await join()
    await one.store.commit(Batch(inbox_added=[Posted(3, 1, b"early")]))
    await two.store.claim([3], TTL)
    assert await two.store.inbox() == [(1, b"early")]
    two.ears.forget()
    await one.store.commit(Batch(inbox_added=[Posted(3, 2, b"late")]))
    await two.ears.hears("messages")
    assert await two.store.inbox() == [(1, b"early"), (2, b"late")]


async def test_replies_arrive_at_the_node_they_are_for(join: Join) -> None:
    """In order, whatever their length and letters."""
    one, two, other = await join(claim=[0]), await join(), await join()
    data = ['"short"', '"' + "\U0001f600€" * 9000 + '"', "", '"last"']
    replies = [Reply(two.number, request, text) for request, text in enumerate(data)]
    await one.store.commit(Batch(replies=replies))
    await two.ears.hears("reply", 4)
    assert two.ears.replies == list(enumerate(data))
    assert other.ears.replies == []


# Activities


async def test_an_offered_activity_is_claimed_once(join: Join) -> None:
    """The oldest first, up to the limit, of the names asked for; everybody hears when there are some."""
    one, two = await join(claim=[0]), await join()
    instance = await one.start(0)
    await one.offer(*(activity(instance, number, str(number)) for number in range(5)))
    await one.offer(activity(instance, 5, "other", name="b"), activity(instance, 6, "6"))
    await two.ears.hears("activities")
    assert await two.take(3) == ["0", "1", "2"]
    assert (await two.store.state()).offered == 4
    assert await one.take(9) == ["3", "4", "6"]
    assert await two.take() == []
    [claimed] = await two.store.claim_activities({"b": None, "c": None}, 9, TTL)
    assert claimed == activity(instance, 5, "other", name="b")


async def test_activities_claimed_at_the_same_time_are_different_ones(join: Join) -> None:
    """Nothing is claimed twice, nothing is left over."""
    nodes = [await join(claim=[0]), await join(), await join()]
    instance = await nodes[0].start(0)
    await nodes[0].offer(*(activity(instance, number, str(number)) for number in range(30)))
    taken: list[str] = []
    while len(taken) < 30:
        rounds = await asyncio.gather(*(node.take(4) for node in nodes))
        assert any(rounds)
        taken += [data for each in rounds for data in each]
    assert sorted(taken, key=int) == [str(number) for number in range(30)]


async def test_of_some_activities_only_so_many_run_in_the_cluster(join: Join) -> None:
    """However many nodes ask, and when. What ends makes room."""
    nodes = [await join(claim=[0]), await join(), await join()]
    instance = await nodes[0].start(0)
    await nodes[0].offer(*(activity(instance, number, str(number)) for number in range(9)))
    rounds = await asyncio.gather(*(node.take(9, a=4, b=1) for node in nodes))
    assert sorted(data for each in rounds for data in each) == ["0", "1", "2", "3"]
    assert await nodes[1].take(9, a=4) == []
    await nodes[2].store.commit(Batch(activities_removed=[activity(instance, number).key for number in (0, 2)]))
    assert await nodes[1].take(1, a=4) == ["4"]
    assert await nodes[1].take(9, a=4) == ["5"]
    assert await nodes[1].take(9, a=None) == ["6", "7", "8"]


async def test_limited_and_unlimited_activities_are_claimed_together(join: Join) -> None:
    """The oldest first of both."""
    node = await join(claim=[0])
    instance = await node.start(0)
    names = "aabab"
    await node.offer(*(activity(instance, at, f"{name}{at}", name=name) for at, name in enumerate(names)))
    assert await node.take(3, a=2, b=None) == ["a0", "a1", "b2"]
    assert await node.take(3, a=2, b=None) == ["b4"]


async def test_claims_of_a_dead_node_run_out(join: Join, expire: Expire) -> None:
    """Then others may claim, and its claims do not count for the limit; those of a node that beats stay."""
    dead, alive, other = await join(claim=[0]), await join(), await join()
    instance = await dead.start(0)
    await dead.offer(*(activity(instance, number, str(number)) for number in range(4)))
    assert await dead.take(2, a=3) == ["0", "1"]
    assert await alive.take(1, a=3) == ["2"]
    await expire()
    await alive.store.beat(TTL, NodeLoad())
    await other.store.beat(TTL, NodeLoad())
    assert await other.take(9, a=3) == ["0", "1"]
    assert await other.take(9, a=4) == ["3"]
    assert await other.take() == []


async def test_a_claim_by_a_node_that_was_thought_dead_counts(join: Join, expire: Expire) -> None:
    """To claim is a sign of life."""
    one, two = await join(claim=[0]), await join()
    await one.offer(activity(await one.start(0), 1, "A"))
    await expire()
    assert await one.take() == ["A"]
    assert await two.take() == []


async def test_activities_of_ended_instances_are_not_given_out(join: Join, expire: Expire) -> None:
    """Neither those that nobody had claimed nor those whose claim runs out."""
    one, two = await join(claim=[0, 1]), await join()
    first, second = await one.start(0), await one.start(1)
    for instance in (first, second):
        await one.offer(activity(instance, 1), activity(instance, 2))
    assert len(await two.take(3)) == 3
    ended = InstanceRow(
        **{name: getattr(first, name) for name in first.__struct_fields__}
        | {"status": OrchestrationRuntimeStatus.TERMINATED, "ended_at": 9}
    )
    commits = [Commit(iid=first.iid, update=ended, turn=turn(1)), Commit(iid=second.iid, purge=True)]
    await one.store.commit(Batch(commits=commits))
    assert (await one.store.state()).offered == 0
    await expire()
    assert await one.take() == []
    assert (await one.store.beat(TTL, NodeLoad())).offered == 0
    assert await one.take() == []


async def test_an_instance_that_ends_with_its_offer_offers_nothing(join: Join) -> None:
    """In one batch."""
    node = await join(claim=[0])
    new = node.new(0, status=OrchestrationRuntimeStatus.COMPLETED, ended_at=1)
    commit = Commit(iid=new.iid, insert=new, turn=turn(0))
    await node.store.commit(Batch(commits=[commit], activities_added=[activity(new, 1)]))
    assert (await node.store.state()).offered == 0


async def test_a_loaded_instance_tells_which_of_its_activities_are_left_to_others(join: Join) -> None:
    """Of its current execution, until they are removed."""
    node = await join(claim=[0])
    instance = await node.start(0, is_active=True)
    former = OfferedActivity(ActivityKey(instance.iid, "former", 9), instance.instance_id, "a", b"x")
    await node.offer(activity(instance, 1), activity(instance, 2), activity(instance, 3), former)
    await node.take(1)
    await node.store.commit(Batch(activities_removed=[activity(instance, 2).key]))
    [loaded] = await node.store.load([instance.instance_id])
    assert loaded.offered == {1, 3}


async def test_activities_that_run_are_noted_for_the_next_owner(join: Join, expire: Expire) -> None:
    """Nobody starts them again while their node lives; noting twice, or what was claimed, changes nothing."""
    one, two = await join(claim=[0]), await join()
    instance = await one.start(0, is_active=True)
    running = [activity(instance, 1, "A"), activity(instance, 2, "B")]
    await one.store.hold_activities(running, TTL)
    await one.store.hold_activities(running, TTL)
    await one.store.release([0])
    await two.store.claim([0], TTL)
    [loaded] = await two.store.load([instance.instance_id])
    assert loaded.offered == {1, 2}
    assert await two.take() == []
    await one.store.commit(Batch(inbox_added=[Posted(0, 1, b"done")], activities_removed=[running[0].key]))
    await expire()
    await two.store.beat(TTL, NodeLoad())
    assert await two.take() == ["B"]


async def test_only_the_owner_notes_what_runs(join: Join, expire: Expire) -> None:
    """Who has lost the partition is told."""
    one, two = await join(claim=[0]), await join()
    instance = await one.start(0)
    await expire()
    await two.store.claim([0], TTL)
    with pytest.raises(LeaseLostError):
        await one.store.hold_activities([activity(instance, 1)], TTL)
    assert await two.take() == []


# Queues and settings


async def test_a_message_of_a_queue_goes_to_one_node(join: Join) -> None:
    """Whoever asks at the same time gets others."""
    nodes = [await join(), await join(), await join()]
    for number in range(12):
        await nodes[0].store.enqueue("q", str(number), visible_at=1)
    taken: list[str] = []
    while len(taken) < 12:
        rounds = await asyncio.gather(*(node.store.dequeue("q", 10, 99, 3) for node in nodes))
        assert any(rounds)
        taken += [message.body for each in rounds for message in each]
    assert sorted(taken, key=int) == [str(number) for number in range(12)]


async def test_watchers_of_a_queue_hear_what_other_nodes_add(join: Join) -> None:
    """However soon after they have begun to watch."""
    one, two = await join(), await join()
    with two.store.watch_queue("q") as arrived:
        await one.store.enqueue("q", "early", visible_at=1)
        await asyncio.wait_for(arrived.wait(), _PATIENCE)
        arrived.clear()
        [message] = await two.store.dequeue("q", 10, 99, 9)
        assert message.receipt is not None
        await one.store.release_message(message.id, message.receipt, 5)
        await asyncio.wait_for(arrived.wait(), _PATIENCE)


async def test_of_several_nodes_that_replace_a_setting_one_succeeds(join: Join) -> None:
    """The others see its value."""
    nodes = [await join(), await join(), await join()]
    for old in (None, "won"):
        new = "won" if old is None else "won again"
        results = await asyncio.gather(*(node.store.replace_setting("s", old, new) for node in nodes))
        assert sorted(results) == [False, False, True]
        assert {await node.store.get_setting("s") for node in nodes} == {new}
