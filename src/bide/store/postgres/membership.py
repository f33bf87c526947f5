"""Who is there, and who owns which partition."""

import contextlib
import logging
from collections.abc import Collection

import msgspec

from bide.errors import BideError, StoreUnavailableError
from bide.model.nodes import ClusterState, Lease, Node, NodeLoad, NodeRole
from bide.store.cluster import Listener
from bide.store.postgres.access import Access
from bide.store.postgres.channels import Replies
from bide.store.postgres.statements import SQL

_log = logging.getLogger("bide.store")

_FORGET_AFTER = 10
"""A node is forgotten when it has not been heard of for so many times a beat's span."""


class Membership(Access):
    """See `SharedStore`."""

    is_shared = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._listener: Listener | None = None
        self._replies = Replies()
        self._name = self._process = ""
        self._role = NodeRole.ALL

    @property
    def partitions(self) -> int:
        return self._partitions

    @property
    def held(self) -> frozenset[int]:
        return self._leases.held

    async def join(self, name: str, role: NodeRole, ttl: int, listener: Listener, process: str = "") -> int:
        self._listener, self._name, self._role, self._process = listener, name, role, process
        [(number,)] = await self._fetch(SQL["join"], name, str(role), ttl, process)
        self._leases.node = int(number)
        await self._to_notices().listen({
            self._channels.nodes: self._on_nodes,
            self._channels.activities: self._on_activities,
            self._channels.node(number): self._on_reply,
        })  # fmt: skip
        await self._tell(self._channels.nodes)
        return int(number)

    async def beat(self, ttl: int, load: NodeLoad) -> ClusterState:
        node = self._number()
        async with self._leases.changing:
            tenures = self._leases.all()
            held = [each.partition for each in tenures], [each.epoch for each in tenures]
            text = msgspec.json.encode(load).decode()
            rows = await self._fetch(SQL["beat"], node, self._name, str(self._role), ttl, text, *held, self._process)
            lost = {each.partition for each in tenures} - {partition for (partition,) in rows}
            self._leases.end(lost)
        await self._ignore(lost)
        state, somebody_died = await self._state()
        if somebody_died:
            if await self._fetch(SQL["give_back"], None):
                await self._tell(self._channels.activities)
            await self._fetch(SQL["forget"], _FORGET_AFTER * ttl)
        return state

    async def claim(self, partitions: Collection[int], ttl: int) -> frozenset[int]:
        node = self._number()
        async with self._leases.changing:
            wanted = frozenset(partitions) - self.held
            await self._to_notices().listen(dict.fromkeys(map(self._channels.partition, wanted), self._on_messages))
            rows = await self._fetch(SQL["claim"], list(wanted), node, ttl)
            for partition, epoch in rows:
                self._leases.begin(partition, epoch)
        await self._ignore(wanted - self.held)
        return frozenset(partition for partition, _ in rows)

    async def release(self, partitions: Collection[int]) -> None:
        node = self._number()
        async with self._leases.changing:
            mine = self.held.intersection(partitions)
            self._leases.end(mine)
            if mine:
                await self._fetch(SQL["release"], list(mine), node)
                await self._tell(self._channels.nodes)
        await self._ignore(mine)

    async def leave(self) -> None:
        node = self._leases.node
        if node is None:
            return
        async with self._leases.changing:
            mine = self.held
            self._leases.end(mine)
            self._leases.node = None
            await self._fetch(
                SQL["release"], range(self._partitions), node
            )  # also what a claim took that was broken off
            await self._fetch(SQL["give_back"], node)
            await self._fetch(SQL["leave"], node)
            await self._fetch(SQL["notify"], [self._channels.nodes, self._channels.activities])
        await self._ignore(mine)
        await self._to_notices().unlisten([self._channels.nodes, self._channels.activities, self._channels.node(node)])
        self._listener = None

    async def bury(self, node: int) -> None:
        await self._fetch(SQL["bury"], node)
        if await self._fetch(SQL["give_back"], None):
            await self._tell(self._channels.activities)
        await self._tell(self._channels.nodes)

    async def state(self) -> ClusterState:
        return (await self._state())[0]

    async def _state(self) -> tuple[ClusterState, bool]:
        """The cluster, and whether there are nodes of which nobody has heard lately."""
        [(nodes, leases, inbox, offered, somebody_died)] = await self._fetch(SQL["state"])
        state = ClusterState(
            nodes=[_node(*row) for row in msgspec.json.decode(nodes or "[]")],
            leases=[Lease(*row) for row in msgspec.json.decode(leases or "[]")],
            inbox={int(partition): count for partition, count in msgspec.json.decode(inbox or "{}").items()},
            offered=offered,
        )
        return state, somebody_died

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.finish()
        if self._pool is not None:
            try:
                await self._leave_quietly()
            finally:
                await super().close()

    async def _leave_quietly(self) -> None:
        with contextlib.suppress(BideError):
            await self.leave()

    def _number(self) -> int:
        if self._leases.node is None:
            raise StoreUnavailableError(f"{self.where}: this is no node (any more); it must join first.")
        return self._leases.node

    async def _tell(self, channel: str) -> None:
        await self._fetch(SQL["notify"], [channel])

    async def _ignore(self, partitions: Collection[int]) -> None:
        if partitions:
            await self._to_notices().unlisten([self._channels.partition(each) for each in partitions])

    # Notices

    def _on_messages(self, _payload: str) -> None:
        if self._listener is not None:
            self._listener.on_messages()

    def _on_activities(self, _payload: str) -> None:
        if self._listener is not None:
            self._listener.on_activities()

    def _on_nodes(self, _payload: str) -> None:
        if self._listener is not None:
            self._listener.on_change()

    def _on_reply(self, payload: str) -> None:
        """Without a payload it is only said that there may be something; `_poll` has looked."""
        reply = self._replies.take(payload) if payload else None
        if reply is not None and self._listener is not None:
            self._listener.on_reply(*reply)

    def _on_gap(self) -> None:
        super()._on_gap()
        self._replies.forget()
        if self._listener is not None:
            self._listener.on_gap()

    async def _poll(self) -> None:
        await super()._poll()
        node = self._leases.node
        if node is not None and self._listener is not None:
            for _, request, data in sorted(await self._fetch(SQL["take_replies"], node)):
                self._listener.on_reply(request, data)


def _node(number: int, name: str, role: str, joined_at: int, seen_at: int, load: str, process: str) -> Node:
    return Node(
        number=number,
        name=name,
        role=NodeRole(role),
        joined_at=joined_at,
        seen_at=seen_at,
        load=msgspec.json.decode(load, type=NodeLoad),
        process=process,
    )
