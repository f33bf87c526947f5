"""Hubs of one test that share a store, and ways for them to die."""

import asyncio
import contextlib

import bide
from bide.model.partitions import partition_of
from bide.testing.cluster import MemoryCluster
from bide.testing.harness import VirtualClock


class Nodes:
    """Hubs that share a store and a clock."""

    def __init__(self, app, partitions=8):
        self.app = app
        self.clock = VirtualClock()
        self.cluster = MemoryCluster(self.clock, partitions)
        self.hubs = []

    async def add(self, **options):
        """Start a node, and wait until it has its share."""
        hub = await self.start(**options)
        await self.settle()
        return hub

    async def start(self, **options):
        hub = bide.Hub(self.app, self.cluster.node(), clock=self.clock, node=f"n{len(self.hubs)}", **options)
        await hub.start()
        self.hubs.append(hub)
        return hub

    async def settle(self):
        quiet = 0
        while quiet < 10:
            await asyncio.sleep(0)
            quiet = quiet + 1 if all(hub.is_idle for hub in self.hubs) else 0

    async def advance(self, seconds):
        end = self.clock.now() + int(seconds * 1e6)
        while (at := self.clock.next_alarm()) is not None and at <= end:
            self.clock.move_to(at)
            await self.settle()
        self.clock.move_to(end)
        await self.settle()

    async def clock_on(self, seconds):
        """Move the clock without waiting for anything to be done."""
        self.clock.move_to(self.clock.now() + int(seconds * 1e6))

    def owned(self, hub):
        return {number for number, lease in enumerate(self.cluster.leases) if lease.node == hub.store._number}

    def owner_of(self, instance_id):
        return next(hub for hub in self.hubs if partition_of(instance_id, 8) in self.owned(hub))

    def other_than(self, instance_id):
        return next(hub for hub in self.hubs if partition_of(instance_id, 8) not in self.owned(hub))

    async def remove(self, hub):
        self.hubs.remove(hub)
        await hub.close()
        await self.settle()


async def die(hub):
    """Stop a hub as `kill -9` would: nothing is told to the store any more."""
    for task in hub._tasks:
        task.cancel()
    await asyncio.gather(*hub._tasks, return_exceptions=True)
    hub._partition._timers.close()
    hub.store._cluster.members[hub.store._number].listener = Nobody()
    hub.store._is_open = False
    hub._partition = None
    with contextlib.suppress(Exception):
        await hub._jobs.close()


class Nobody:
    """A listener who does not listen."""

    def __getattr__(self, name):
        return lambda *_: None
