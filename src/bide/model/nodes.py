"""What the nodes of a cluster know about each other."""

from collections.abc import Collection
from enum import StrEnum

import msgspec


class NodeRole(StrEnum):
    """What a node takes on. Every node answers clients, and reaches every instance."""

    ALL = "all"
    ORCHESTRATIONS = "orchestrations"
    """Own partitions, and leave activities to others."""
    ACTIVITIES = "activities"
    """Run activities, and own nothing."""
    CLIENT = "client"
    """Neither: a command, or a process that only starts, raises and asks."""

    @property
    def owns_partitions(self) -> bool:
        return self in {NodeRole.ALL, NodeRole.ORCHESTRATIONS}

    @property
    def runs_activities(self) -> bool:
        return self in {NodeRole.ALL, NodeRole.ACTIVITIES}


class NodeLoad(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a node is: messages that wait in memory, instances in memory, jobs that run, and messages handled a second."""

    backlog: int = 0
    resident: int = 0
    running: int = 0
    rate: float = 0.0


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node that has been heard of lately. Times are microseconds, by the store's clock.

    `number` is given by the store when the node joins, and never given out again. `process` tells nodes of the same machine
    which process it is, if anything does.
    """

    number: int
    name: str
    role: NodeRole
    joined_at: int
    seen_at: int
    load: NodeLoad = NodeLoad()
    process: str = ""


class Lease(msgspec.Struct, frozen=True, gc=False):
    """Who owns a partition: a node's number, or None. `epoch` counts its owners; `is_free` when anybody may claim it."""

    partition: int
    epoch: int
    node: int | None
    is_free: bool


class ClusterState(msgspec.Struct, frozen=True):
    """Everybody who has been heard of lately, the leases of all partitions, and the messages and activities that wait.

    `inbox` counts stored messages by partition, some ten thousand of them at most; `offered` activities that nobody has
    claimed.
    """

    nodes: list[Node]
    leases: list[Lease]
    inbox: dict[int, int] = {}
    offered: int = 0

    def inbox_of(self, partitions: Collection[int]) -> int:
        """How many messages wait for these partitions."""
        return sum(self.inbox.get(partition, 0) for partition in partitions)
