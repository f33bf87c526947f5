"""`SharedStore`: what a store has besides when several nodes use it at a time.

The store is cut into partitions. A node *claims* some of them and holds each under an epoch, which every claim raises.
`commit` checks, in its transaction, that every partition it touches is still held under the epoch of its claim: a node
that was paused or cut off for longer than its lease cannot write, whatever it believes. Leases run out by the store's clock,
so that it does not matter what the nodes' clocks say.

The verbs of `Store` that only the owning partition calls (`due`, `active`, `inbox`) are about the partitions that this
object holds; the queries are about all. What is meant for an instance elsewhere is put into its partition's inbox by
`commit`, from any node.

A *listener* hears what other nodes do. Notices may be lost while a connection is: `on_gap` says so.
"""

from collections.abc import Collection, Mapping
from typing import Protocol, TypeGuard

from bide.model.commit import OfferedActivity
from bide.model.nodes import ClusterState, NodeLoad, NodeRole
from bide.store.base import Store


class Listener(Protocol):
    """Who is told, in the event loop, what has happened in the store. A notice may come twice, and for nothing."""

    def on_messages(self) -> None:
        """A held partition's inbox has a new message."""
        ...

    def on_reply(self, request: int, data: str) -> None:
        """A `Reply` to this node."""
        ...

    def on_activities(self) -> None:
        """There may be an activity to be claimed: one was offered, or one has ended that kept others of its name waiting."""
        ...

    def on_change(self) -> None:
        """A node has come or gone, or a partition has become free."""
        ...

    def on_gap(self) -> None:
        """Anything may have been missed."""
        ...


class SharedStore(Store, Protocol):
    """A `Store` for several nodes. `is_shared` tells it from one that has a single owner.

    Every verb may raise `StoreUnavailableError`; spans (`ttl`) are microseconds. `open` takes no ownership here: it connects, and
    brings the schema up to date, safely with several nodes at it.
    """

    is_shared: bool

    @property
    def partitions(self) -> int:
        """Into how many partitions the store is cut. Known once it is open, and for ever the same."""
        ...

    @property
    def held(self) -> frozenset[int]:
        """Partitions that this object holds, as far as it knows."""
        ...

    async def join(self, name: str, role: NodeRole, ttl: int, listener: Listener, process: str = "") -> int:
        """Become a node, known to others for `ttl`, and return its number, which grows with every join.

        Others hear `on_change`.
        """
        ...

    async def beat(self, ttl: int, load: NodeLoad) -> ClusterState:
        """Say that this node lives: extend its membership, its leases and its claims of activities by `ttl` from now.

        One transaction, before the state is read. A lease that has run out is extended too, as long as nobody else has claimed
        the partition; those that somebody has are no longer in `held` afterwards.
        """
        ...

    async def claim(self, partitions: Collection[int], ttl: int) -> frozenset[int]:
        """Take those of `partitions` that are free, each under its next epoch, and return them.

        From then on `held` has them, notices about their inboxes come, and what any former owner had committed
        is seen. A former owner's commits that have not been written by then never will be.
        """
        ...

    async def release(self, partitions: Collection[int]) -> None:
        """Give partitions back, for anybody to claim at once; others hear `on_change`. Commits must be waited for before."""
        ...

    async def leave(self) -> None:
        """Give everything back and be no node any more; others hear `on_change`. Does nothing when it is none."""
        ...

    async def bury(self, node: int) -> None:
        """Let a node count as dead at once that is known to be: its partitions, and what it had claimed, are free.

        If it lives after all, it cannot write any more until it has claimed anew.
        """
        ...

    async def state(self) -> ClusterState:
        """The cluster, for people to see. Needs no `join`."""
        ...

    async def claim_activities(self, names: Mapping[str, int | None], limit: int, ttl: int) -> list[OfferedActivity]:
        """Take up to `limit` activities of these names that nobody has, or whose claim has run out, the oldest first.

        Of a name that is mapped to a number, no more than that are claimed at a time by all nodes together. They stay claimed for
        `ttl`, and as long as this node beats, until a commit removes them. Activities of instances that have ended or are gone
        are never given out.
        """
        ...

    async def hold_activities(self, activities: Collection[OfferedActivity], ttl: int) -> None:
        """Note that this node is running these: whoever claims their partition must not start them again.

        As if they had been offered, and claimed by this node. Those that are noted already are left as they are. Raises
        `LeaseLostError` when somebody has claimed one of their partitions already.
        """
        ...


def is_shared(store: Store) -> TypeGuard[SharedStore]:
    """Whether several nodes may use the store."""
    return getattr(store, "is_shared", False)
