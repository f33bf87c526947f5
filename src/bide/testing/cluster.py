"""A store in memory that several hubs of one test share, as nodes of a cluster."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bide.errors import BideError, LeaseLostError, StoreError, StoreUnavailableError
from bide.model.clock import Clock
from bide.model.commit import ActivityKey, Batch, OfferedActivity, Reply, Turn
from bide.model.nodes import ClusterState, Lease, Node, NodeLoad, NodeRole
from bide.model.partitions import make_iid, partition_of, partition_of_iid
from bide.store import MemoryStore
from bide.store.base import Due, Loaded
from bide.store.cluster import Listener

if TYPE_CHECKING:
    _Base = MemoryStore  # of which it has the queries
else:
    _Base = object


@dataclass
class _Member:
    name: str
    role: NodeRole
    joined_at: int
    seen_at: int
    expires_at: int
    load: NodeLoad
    listener: Listener
    process: str


@dataclass
class _Lease:
    epoch: int = 0
    node: int | None = None
    expires_at: int = 0


@dataclass
class _Offered:
    activity: OfferedActivity
    node: int | None = None
    expires_at: int = 0


class MemoryCluster:
    """What the nodes share. `clock` is the store's own: leases run out by it.

    ::

        cluster = MemoryCluster(clock)
        one, two = bide.Hub(app, cluster.node(), clock=clock), bide.Hub(app, cluster.node(), clock=clock)
    """

    def __init__(self, clock: Clock, partitions: int = 8) -> None:
        self.clock = clock
        self.store = MemoryStore()
        self.leases = [_Lease() for _ in range(partitions)]
        self.members: dict[int, _Member] = {}
        self.inbox: dict[tuple[int, int], bytes] = {}
        self.activities: dict[ActivityKey, _Offered] = {}
        self.last_number = 0
        self.deafness = 0
        """How many of the next notices are lost."""

    def node(self) -> "MemoryNode":
        """Make a store for one more node."""
        return MemoryNode(self)

    def expire(self) -> None:
        """Let every lease, every membership and every claim of an activity run out."""
        for member in self.members.values():
            member.expires_at = 0
        for lease in self.leases:
            lease.expires_at = 0
        for offered in self.activities.values():
            offered.expires_at = 0

    def tell(self, notice: Callable[[Listener], None], nodes: Collection[int | None] | None = None) -> None:
        """Tell listeners, soon."""
        for number, member in self.members.items():
            if nodes is not None and number not in nodes:
                continue
            if self.deafness > 0:
                self.deafness -= 1
            else:
                asyncio.get_running_loop().call_soon(notice, member.listener)


def _pass_on(reply: Reply, listener: Listener) -> None:
    listener.on_reply(reply.request, reply.data)


async def _take_a_while() -> None:
    """As a server does: the caller's other tasks run meanwhile."""
    for _ in range(3):
        await asyncio.sleep(0)


class MemoryNode(_Base):
    """A `SharedStore`, and one node's view of it. Verbs take a while, as a server does.

    `fail_next` refuses commits, and `lose_answers` their answers.
    """

    is_shared = True

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._store = cluster.store
        self._number: int | None = None
        self._epochs: dict[int, int] = {}
        self._counters: dict[int, int] = {}
        self._failures = 0
        self._answers_lost = 0
        self._is_open = False
        self._batches: deque[tuple[Batch, asyncio.Future[None]]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._error: BideError | None = None  # a failure that the callers have not been told yet

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

    @property
    def partitions(self) -> int:
        return len(self._cluster.leases)

    @property
    def held(self) -> frozenset[int]:
        return frozenset(self._epochs)

    def fail_next(self, commits: int) -> None:
        """Refuse the next so many commits."""
        self._failures = commits

    def lose_answers(self, commits: int) -> None:
        """Write the next so many commits, and fail all the same, as when a connection is lost before the answer."""
        self._answers_lost = commits

    async def open(self) -> None:
        await self._store.open()
        self._is_open = True

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer
        with contextlib.suppress(StoreError):
            await self.leave()
        self._is_open = False

    def new_iid(self, instance_id: str) -> int:
        partition = partition_of(instance_id, self.partitions)
        if partition not in self._epochs:
            raise LeaseLostError(f"Partition {partition} is not held.")
        self._counters[partition] = number = self._counters.get(partition, 0) + 1
        return make_iid(partition, self._epochs[partition], number)

    # What is about the partitions that it holds

    async def load(self, instance_ids: Sequence[str]) -> list[Loaded]:
        await _take_a_while()
        return [self._with_offered(loaded) for loaded in await self._store.load(instance_ids)]

    def _with_offered(self, loaded: Loaded) -> Loaded:
        row = loaded.row
        offered = frozenset(
            key.task_id
            for key in self._cluster.activities
            if (key.iid, key.execution_id) == (row.iid, row.execution_id)
        )
        return Loaded(row, loaded.turns, offered)

    async def seen_event_ids(self, pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
        await _take_a_while()
        return await self._store.seen_event_ids(pairs)

    async def turns(self, instance_id: str) -> list[Turn]:
        await _take_a_while()
        return await self._store.turns(instance_id)

    async def due(self, now: int, limit: int) -> Due:
        await _take_a_while()
        due = await self._store.due(now, 1_000_000)
        ours = [each for each in due.instance_ids if partition_of(each, self.partitions) in self._epochs]
        return Due(ours[:limit], due.next_at)

    async def active(self, after_iid: int, limit: int) -> list[tuple[int, str]]:
        await _take_a_while()
        rows = await self._store.active(after_iid, 1_000_000)
        return [row for row in rows if partition_of_iid(row[0]) in self._epochs][:limit]

    async def inbox(self, limit: int | None = None) -> list[tuple[int, bytes]]:
        await _take_a_while()
        inbox = self._cluster.inbox.items()
        return [(key, data) for (partition, key), data in inbox if partition in self._epochs][:limit]

    # Commits

    def commit(self, batch: Batch) -> Awaitable[None]:
        """Write it a little later, in order; what was submitted before a failure was known fails too."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._error is not None:
            done.set_exception(self._error)
            return done
        self._batches.append((batch, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        return done

    async def _write_all(self) -> None:
        while self._batches:
            await _take_a_while()
            batch, done = self._batches.popleft()
            try:
                self._check(batch)
                self._write(batch)
                self._lose_answer()
            except (LeaseLostError, StoreUnavailableError) as error:
                self._refuse([done, *(other for _, other in self._batches)], error)
                self._batches.clear()
            else:
                if not done.done():
                    done.set_result(None)
        self._writer = None

    def _refuse(self, futures: "list[asyncio.Future[None]]", error: BideError) -> None:
        self._error = error
        for future in futures:
            if not future.done():
                future.set_exception(error)
        asyncio.get_running_loop().call_soon(self._mend)  # runs after their callbacks

    def _mend(self) -> None:
        self._error = None

    def _lose_answer(self) -> None:
        if self._answers_lost > 0:
            self._answers_lost -= 1
            raise StoreUnavailableError("The test wants this commit's answer to be lost.")

    def _check(self, batch: Batch) -> None:
        if not self._is_open:
            raise StoreUnavailableError("The store is closed.")
        if self._failures > 0:
            self._failures -= 1
            raise StoreUnavailableError("The test wants this commit to fail.")
        touched = {partition_of_iid(commit.iid) for commit in batch.commits if commit.iid}
        touched.update(partition for partition, _ in batch.inbox_removed)
        touched.update(partition_of_iid(activity.key.iid) for activity in batch.activities_added)
        self._check_held(touched)
        missing = [each for each in batch.inbox_removed if each not in self._cluster.inbox]
        if missing:
            raise StoreUnavailableError(f"Messages {missing} have been removed already.")

    def _check_held(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            lease = self._cluster.leases[partition]
            if lease.node != self._number or lease.epoch != self._epochs.get(partition):
                raise LeaseLostError(f"Partition {partition} belongs to another node now.")

    def _write(self, batch: Batch) -> None:
        cluster = self._cluster
        self._store.commit(Batch(commits=batch.commits))
        for posted in batch.inbox_added:
            assert (posted.partition, posted.key) not in cluster.inbox
            cluster.inbox[posted.partition, posted.key] = posted.data
        for each in batch.inbox_removed:
            del cluster.inbox[each]
        for activity in batch.activities_added:
            cluster.activities.setdefault(activity.key, _Offered(activity))
        for key in batch.activities_removed:
            cluster.activities.pop(key, None)
        for key in [key for key, each in cluster.activities.items() if each.node is None and not self._is_wanted(key)]:
            del cluster.activities[key]
        self._notify(batch)

    def _is_wanted(self, key: ActivityKey) -> bool:
        """Whether its instance is there, and has not ended."""
        row = self._store._rows.get(key.iid)  # noqa: SLF001  (the other half of this store)
        return row is not None and not row.status.is_ended

    def _notify(self, batch: Batch) -> None:
        cluster = self._cluster
        owners = {cluster.leases[posted.partition].node for posted in batch.inbox_added} - {None, self._number}
        cluster.tell(lambda listener: listener.on_messages(), owners)
        for reply in batch.replies:
            cluster.tell(partial(_pass_on, reply), {reply.node})
        if batch.activities_added or batch.activities_removed:
            cluster.tell(lambda listener: listener.on_activities())

    # Nodes and leases

    async def join(self, name: str, role: NodeRole, ttl: int, listener: Listener, process: str = "") -> int:
        self._cluster.last_number += 1
        self._number = self._cluster.last_number
        now = self._cluster.clock.now()
        self._cluster.members[self._number] = _Member(name, role, now, now, now + ttl, NodeLoad(), listener, process)
        self._announce()
        return self._number

    def _announce(self) -> None:
        self._cluster.tell(lambda listener: listener.on_change(), self._cluster.members.keys() - {self._number})

    async def beat(self, ttl: int, load: NodeLoad) -> ClusterState:
        self._check_open()
        now = self._cluster.clock.now()
        member = self._cluster.members[self._number or 0]
        member.seen_at, member.expires_at, member.load = now, now + ttl, load
        for partition, epoch in list(self._epochs.items()):
            lease = self._cluster.leases[partition]
            if (lease.node, lease.epoch) == (self._number, epoch):
                lease.expires_at = now + ttl
            else:
                del self._epochs[partition]
        for offered in self._cluster.activities.values():
            if offered.node == self._number:
                offered.expires_at = now + ttl
        return await self.state()

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailableError("The store is closed.")

    async def claim(self, partitions: Collection[int], ttl: int) -> frozenset[int]:
        self._check_open()
        now = self._cluster.clock.now()
        got = [each for each in partitions if self._is_free(self._cluster.leases[each], now)]
        for partition in got:
            lease = self._cluster.leases[partition]
            lease.epoch, lease.node, lease.expires_at = lease.epoch + 1, self._number, now + ttl
            self._epochs[partition] = lease.epoch
            self._counters[partition] = 0
        return frozenset(got)

    @staticmethod
    def _is_free(lease: _Lease, now: int) -> bool:
        return lease.node is None or lease.expires_at <= now

    async def release(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            lease = self._cluster.leases[partition]
            if (lease.node, lease.epoch) == (self._number, self._epochs.pop(partition, None)):
                lease.node = None
        self._announce()

    async def leave(self) -> None:
        if self._number is None:
            return
        await self.release(list(self._epochs))
        for offered in self._cluster.activities.values():
            if offered.node == self._number:
                offered.node = None
        self._cluster.members.pop(self._number, None)
        self._number = None
        self._cluster.tell(lambda listener: listener.on_activities())

    async def bury(self, node: int) -> None:
        self._cluster.members[node].expires_at = 0
        for lease in self._cluster.leases:
            if lease.node == node:
                lease.node = None
        for offered in self._cluster.activities.values():
            if offered.node == node:
                offered.node = None
        self._announce()
        self._cluster.tell(lambda listener: listener.on_activities())

    async def state(self) -> ClusterState:
        now = self._cluster.clock.now()
        waiting: dict[int, int] = {}
        for partition, _ in self._cluster.inbox:
            waiting[partition] = waiting.get(partition, 0) + 1
        return ClusterState(
            nodes=[
                Node(
                    number=number, name=each.name, role=each.role, joined_at=each.joined_at, seen_at=each.seen_at,
                    load=each.load, process=each.process,
                )
                for number, each in self._cluster.members.items()
                if each.expires_at > now
            ],
            leases=[
                Lease(partition, each.epoch, each.node, self._is_free(each, now))
                for partition, each in enumerate(self._cluster.leases)
            ],
            inbox=waiting,
            offered=sum(self._may_be_claimed(each, now) for each in self._cluster.activities.values()),
        )  # fmt: skip

    # Activities

    @staticmethod
    def _is_unclaimed(offered: _Offered, now: int) -> bool:
        return offered.node is None or offered.expires_at <= now

    def _may_be_claimed(self, offered: _Offered, now: int) -> bool:
        return self._is_unclaimed(offered, now) and self._is_wanted(offered.activity.key)

    async def claim_activities(self, names: Mapping[str, int | None], limit: int, ttl: int) -> list[OfferedActivity]:
        now = self._cluster.clock.now()
        claimed: list[OfferedActivity] = []
        for offered in self._cluster.activities.values():
            name = offered.activity.name
            if (
                len(claimed) < limit
                and name in names
                and self._may_be_claimed(offered, now)
                and self._may(name, names, now)
            ):
                offered.node, offered.expires_at = self._number, now + ttl
                claimed.append(offered.activity)
        return claimed

    def _may(self, name: str, names: Mapping[str, int | None], now: int) -> bool:
        most = names[name]
        running = (
            each.activity.name == name and not self._is_unclaimed(each, now)
            for each in self._cluster.activities.values()
        )
        return most is None or sum(running) < most

    async def hold_activities(self, activities: Collection[OfferedActivity], ttl: int) -> None:
        self._check_held({partition_of_iid(activity.key.iid) for activity in activities})
        expires_at = self._cluster.clock.now() + ttl
        for activity in activities:
            self._cluster.activities.setdefault(activity.key, _Offered(activity, self._number, expires_at))
