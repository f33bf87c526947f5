"""A node's part in a cluster: says that it lives, takes its share of the partitions, and hears what others do.

Nobody leads. Every node sees in each beat who lives and who owns what, and works out the same fair shares from it: the
nodes that own partitions, by number, each get as many as the others or one more. Who has too many hands over, who has
too few claims what is free. A node that stops gives its partitions back at once; those of one that died are free when
its leases have run out.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bide.errors import StoreError
from bide.model.clock import SECOND, Clock
from bide.model.nodes import ClusterState, NodeLoad, NodeRole
from bide.runtime.completions import PATIENCE
from bide.runtime.identity import identity, is_dead
from bide.runtime.jobs import JobRunner
from bide.runtime.offers import Offers
from bide.runtime.partition import Partition
from bide.runtime.routes import Routes
from bide.store.cluster import SharedStore

_log = logging.getLogger("bide.cluster")

_BEATS_PER_LEASE = 3


class Cluster:
    """A `Listener` and a duty: `run` beats until cancelled, and at once when something has changed."""

    def __init__(
        self,
        store: SharedStore,
        partition: Partition,
        routes: Routes,
        jobs: JobRunner,
        offers: Offers,
        clock: Clock,
        *,
        name: str,
        role: NodeRole,
        ttl: int,
    ) -> None:
        """`ttl` is how long a lease lasts, in microseconds: so long after its death a node's partitions go to others."""
        self._store = store
        self._partition = partition
        self._routes = routes
        self._jobs = jobs
        self._offers = offers
        self._clock = clock
        self._name = name
        self._role = role
        self._ttl = ttl
        self._changed = asyncio.Event()
        self._offered = asyncio.Event()
        self._last_load = clock.now(), 0
        self._owners: dict[int, tuple[int | None, int]] = {}
        partition.offers = offers
        partition.on_failure = self._on_failure
        jobs.on_room = self._on_room

    async def start(self) -> None:
        """Join. Partitions come with the first beat."""
        node = await self._store.join(self._name, self._role, self._ttl, self, identity())
        self._routes.join(node, self._partition.inbox)
        self._offered.set()

    async def run(self) -> None:
        while True:
            self._changed.clear()
            alarm = self._clock.call_at(self._clock.now() + self._ttl // _BEATS_PER_LEASE, self._changed.set)
            await _surely("renew the leases", self.beat)
            await self._changed.wait()
            alarm.cancel()

    async def run_offers(self) -> None:
        """Claim activities of other nodes whenever there may be some, and room for them."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            await _surely("claim activities", self._claim_offers)

    async def _claim_offers(self) -> None:
        while await self._offers.claim():
            pass

    async def beat(self) -> None:
        """Renew the leases, and take one step towards a fair share. Raises `StoreError`."""
        state = await self._store.beat(self._ttl, self._load())
        dead = [node for node in state.nodes if is_dead(node.process)]
        if dead:
            for node in dead:
                _log.warning("node %s has died, and its share is free", node.name)
                await self._store.bury(node.number)
            state = await self._store.beat(self._ttl, self._load())
        await self._accept_losses()
        self._look_at_owners(state)
        if state.inbox_of(self._routes.owned):
            self._partition.look_for_mail()  # in case a notice was lost
        if state.offered:
            self._offered.set()
        share = self._share(state)
        surplus = sorted(self._store.held)[share:]
        if surplus:
            await self._partition.hand_over(surplus)
            await self._store.release(surplus)
        elif len(self._store.held) < share:
            await self._claim(state, share)
        new = self._store.held - self._routes.owned
        if new:
            await self._partition.take_over(new)
            _log.info("owns partitions %s now", sorted(self._routes.owned))
        self._routes.give_up(PATIENCE)

    async def close(self) -> None:
        """Leave; what this node owned is free at once, if the store can be reached."""
        self._routes.give_up()
        try:
            await self._store.leave()
        except StoreError as error:
            _log.warning("cannot give the partitions back, they are free when the leases have run out: %s", error)

    def _load(self) -> NodeLoad:
        now, messages = self._clock.now(), self._partition.messages
        since, before = self._last_load
        self._last_load = now, messages
        return NodeLoad(
            backlog=self._partition.backlog,
            resident=self._partition.resident_count,
            running=len(self._jobs.running),
            rate=round((messages - before) * SECOND / (now - since), 1) if now > since else 0.0,
        )

    def _share(self, state: ClusterState) -> int:
        """How many partitions are this node's."""
        owners = sorted(node.number for node in state.nodes if node.role.owns_partitions)
        if self._routes.node not in owners:
            return 0
        each, left = divmod(len(state.leases), len(owners))
        return each + (owners.index(self._routes.node) < left)

    async def _claim(self, state: ClusterState, share: int) -> None:
        free = [lease.partition for lease in state.leases if lease.is_free and lease.partition not in self._store.held]
        start = self._routes.node % len(free) if free else 0  # two that claim at a time begin at different ends
        wanted = (free[start:] + free[:start])[: share - len(self._store.held)]
        if wanted:
            await self._store.claim(wanted, self._ttl)

    async def _accept_losses(self) -> None:
        lost = self._routes.owned - self._store.held
        if lost:
            _log.warning("partitions %s were taken over by other nodes", sorted(lost))
            await self._partition.hand_over(lost)

    async def _on_failure(self) -> None:
        """Called between passes, when nothing is in memory: go on with what the store says is still ours."""
        await self._store.beat(self._ttl, self._load())
        lost = self._routes.owned - self._store.held
        if lost:
            _log.warning("partitions %s were taken over by other nodes", sorted(lost))
            self._routes.owned.difference_update(lost)
            self._changed.set()

    def _look_at_owners(self, state: ClusterState) -> None:
        """Ask again for the ends of instances whose owner has changed: what the former one was told is forgotten."""
        owners = {lease.partition: (lease.node, lease.epoch) for lease in state.leases}
        moved = {partition for partition, owner in owners.items() if self._owners.get(partition, owner) != owner}
        self._owners = owners
        if moved:
            self._routes.ask_again(moved)

    def _on_room(self) -> None:
        if self._offers.may_be_some:
            self._offered.set()

    # Listener

    def on_messages(self) -> None:
        self._partition.look_for_mail()

    def on_reply(self, request: int, data: str) -> None:
        self._routes.on_reply(request, data)

    def on_activities(self) -> None:
        self._offered.set()

    def on_change(self) -> None:
        self._changed.set()

    def on_gap(self) -> None:
        self._routes.give_up()  # their answers may be what was missed
        self._partition.look_for_mail()
        self._offered.set()
        self._changed.set()


async def _surely(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do it; whatever goes wrong is said, and does not end the duty: without it this node would be dead to the others."""
    try:
        await work()
    except StoreError as error:
        _log.warning("cannot %s, trying again: %s", what, error)
    except Exception:  # noqa: BLE001  (see above)
        _log.exception("failed to %s, trying again; please report this", what)
