"""Puts the parts of a running hub together: store, partition, activities, timers, client."""

import asyncio
import os
import socket
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from bide.app import App
from bide.client.base import Client
from bide.errors import ConfigurationError, HubClosedError
from bide.model.clock import SECOND, Clock, span_micros
from bide.model.entities import EntityBatch
from bide.model.events import TaskScheduled
from bide.model.nodes import ClusterState, Lease, Node, NodeLoad, NodeRole
from bide.runtime.activities import ActivityExecutor
from bide.runtime.batches import BatchExecutor
from bide.runtime.clock import SystemClock
from bide.runtime.cluster import Cluster
from bide.runtime.completions import Completions
from bide.runtime.ids import IdSource
from bide.runtime.interpreter import restore_interpreter, tune_interpreter
from bide.runtime.jobs import Executor, JobRunner
from bide.runtime.local import LocalClient
from bide.runtime.offers import Lane, Offers
from bide.runtime.partition import Partition
from bide.runtime.processes import ProcessPool, cores
from bide.runtime.processes.worker import refuse_while_importing
from bide.runtime.retention import Retention
from bide.runtime.routes import Routes
from bide.store import Store, open_store
from bide.store.cluster import SharedStore, is_shared
from bide.store.urls import hide_password

DEFAULT_MAX_PAYLOAD_BYTES = 1 << 20
DEFAULT_MAX_RESIDENT = 10_000
DEFAULT_MAX_BACKLOG = 10_000
DEFAULT_THREADS = 32
DEFAULT_LEASE = timedelta(seconds=10)
"""A node beats three times as often; a shorter one moves partitions when a node only stalls."""


class Engine:
    """A running hub without its HTTP face; see `bide.Hub`."""

    def __init__(
        self,
        app: App,
        store: str | Store = "sqlite:///bide.db",
        *,
        name: str = "bide",
        clock: Clock | None = None,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        max_resident: int = DEFAULT_MAX_RESIDENT,
        max_backlog: int = DEFAULT_MAX_BACKLOG,
        activity_threads: int = DEFAULT_THREADS,
        activity_processes: int | None = None,
        retention: timedelta | None = None,
        node: str | None = None,
        role: NodeRole = NodeRole.ALL,
        lease: timedelta = DEFAULT_LEASE,
    ) -> None:
        self.app = app
        self.name = name
        self.store = open_store(store) if isinstance(store, str) else store
        self.location = hide_password(store) if isinstance(store, str) else type(store).__name__
        self._clock = clock if clock is not None else SystemClock()
        self.max_payload_bytes = max_payload_bytes
        self._max_resident = max_resident
        self._max_backlog = max_backlog
        self._threads = activity_threads
        self._max_processes = cores() if activity_processes is None else activity_processes
        self._retention = retention
        self._node = node
        self._role = NodeRole(role)
        self._lease = lease
        self._started_at = 0
        self._cluster: Cluster | None = None
        self._client: LocalClient | None = None
        self._partition: Partition | None = None
        self._jobs: JobRunner | None = None
        self._processes: ProcessPool | None = None
        self._completions = Completions()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def client(self) -> Client:
        """The client in this process. Raises `HubClosedError` while the hub is not running."""
        if self._client is None:
            raise HubClosedError("The hub is not running; use 'async with Hub(…) as hub:'.")
        return self._client

    @property
    def partition(self) -> Partition:
        """The loop that owns the store. Raises `HubClosedError` while the hub is not running."""
        if self._partition is None:
            raise HubClosedError("The hub is not running; use 'async with Hub(…) as hub:'.")
        return self._partition

    @property
    def is_idle(self) -> bool:
        """Whether nothing happens: no message, no commit, no activity, no operation of an entity."""
        return self.partition.is_idle and self._jobs is not None and self._jobs.is_idle

    async def __aenter__(self) -> Self:
        return await self.start()

    async def start(self) -> Self:
        """Open the store and run; `close` ends it. For where `async with` does not fit, as in a notebook.

        Raises what opening the store raises (`StoreError`), and `ConfigurationError` when the hub runs already.
        """
        if self._partition is not None:
            raise ConfigurationError("The hub is running already.")
        refuse_while_importing()
        await self.store.open()
        tune_interpreter()
        try:
            await self._start()
        except BaseException:
            await self._give_up()
            restore_interpreter()
            await self.store.close()
            raise
        return self

    async def _give_up(self) -> None:
        """End what a start had begun that came to nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._jobs is not None:
            await self._jobs.close()
        if self._processes is not None:
            await self._processes.close()
        self._tasks = []
        self._partition = self._client = self._cluster = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _start(self) -> None:
        self._started_at = self._clock.now()
        self._completions = completions = Completions()
        store = self.store
        routes = Routes(store.partitions, self._clock) if is_shared(store) else None
        partition = Partition(
            self.app,
            store,
            self._clock,
            max_resident=self._max_resident,
            max_backlog=self._max_backlog,
            completions=completions,
            routes=routes,
        )
        limit = self.max_payload_bytes
        self._processes = processes = self._make_processes()
        executors: dict[type[Any], Executor] = {
            TaskScheduled: ActivityExecutor(self.app.activities, limit, processes),
            EntityBatch: BatchExecutor(self.app, limit),
        }
        partition.jobs = self._jobs = JobRunner(
            executors, partition.post, threads=self._threads, limits=self._limits(is_alone=routes is None)
        )
        ids = IdSource() if routes is None else IdSource(routes.would_own)
        client = LocalClient(partition, store, self._clock, ids, completions, self.max_payload_bytes, self._state)
        if is_shared(store) and routes is not None:
            self._cluster = self._make_cluster(store, partition, routes, self._jobs)
            await self._cluster.start()
        else:
            await partition.start()
        self._partition, self._client = partition, client
        self._tasks = [asyncio.create_task(partition.run(), name="bide-partition")]
        if self._cluster is not None:
            await self._cluster.beat()
            self._tasks.append(asyncio.create_task(self._cluster.run(), name="bide-cluster"))
            self._tasks.append(asyncio.create_task(self._cluster.run_offers(), name="bide-offers"))
        if self._retention is not None:
            is_on_duty = None if routes is None else lambda: 0 in routes.owned  # one node of them all
            duty = Retention(client, store, self._clock, self._retention, is_on_duty)
            self._tasks.append(asyncio.create_task(duty.run(), name="bide-retention"))

    async def _state(self) -> ClusterState:
        """Tell about the nodes; a hub on a store of its own is one node, with one partition."""
        if is_shared(self.store):
            return await self.store.state()
        now = self._clock.now()
        assert self._jobs is not None
        load = NodeLoad(
            backlog=self.partition.backlog,
            resident=self.partition.resident_count,
            running=len(self._jobs.running),
            rate=round(self.partition.messages * SECOND / max(now - self._started_at, 1), 1),
        )
        node = Node(number=1, name=self._node_name, role=self._role, joined_at=self._started_at, seen_at=now, load=load)
        return ClusterState([node], [Lease(0, 1, 1, is_free=False)])

    @property
    def _node_name(self) -> str:
        return self._node or f"{socket.gethostname()}:{os.getpid()}"

    def _make_cluster(self, store: SharedStore, partition: Partition, routes: Routes, jobs: JobRunner) -> Cluster:
        ttl = span_micros(self._lease)
        rooms = {Lane.COROUTINES: jobs.coroutine_room, Lane.THREADS: jobs.thread_room}
        if self._processes is not None:
            rooms[Lane.PROCESSES] = self._processes.room
        offers = Offers(store, jobs, self.app.activities, rooms if self._role.runs_activities else {}, ttl=ttl)
        return Cluster(
            store, partition, routes, jobs, offers, self._clock, name=self._node_name, role=self._role, ttl=ttl
        )

    def _limits(self, *, is_alone: bool) -> dict[str, int]:
        """Bounds that this process keeps by itself; among several nodes the claims of activities keep them."""
        activities = self.app.activities.values() if is_alone else ()
        return {each.name: each.max_concurrent for each in activities if each.max_concurrent is not None}

    def _make_processes(self) -> ProcessPool | None:
        if self._max_processes == 0:
            return None
        wanting = (activity for activity in self.app.activities.values() if activity.wants_process)
        return ProcessPool(wanting, processes=self._max_processes, limit=self.max_payload_bytes)

    async def close(self) -> None:
        """Finish what was accepted and close the store. Activities that still run are run again at the next start."""
        partition, self._partition = self._partition, None
        if partition is None:
            return
        assert self._jobs is not None
        await self._jobs.close()  # first: a job must not fail because the client is gone
        if self._processes is not None:
            await self._processes.close()
        self._client = None
        loop, *duties = self._tasks
        for duty in duties:
            duty.cancel()
        await asyncio.gather(*duties, return_exceptions=True)
        partition.close()
        try:
            await loop
            if self._cluster is not None:
                await self._cluster.close()
        finally:
            self._cluster = None
            self._completions.close()
            restore_interpreter()
            await self.store.close()
