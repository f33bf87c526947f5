"""Nodes on one database, stories that go on at all of them, and what can be done to nodes."""

import asyncio
import random
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from bench.torture.cluster.database import Database
from bench.torture.cluster.node import Node
from bench.torture.connection import Connection
from bench.torture.journal import Journal
from bench.torture.lanes import Lanes

_PATIENCE_SECONDS = 2.0
"""After which a client of ours turns to another node."""


class Cluster:
    """Starts nodes, and tells stories to them until `finish`.

    ::

        async with Cluster(tmp_path, url, database) as cluster:
            one = await cluster.add()
            …
            assert await cluster.finish() == []
    """

    def __init__(
        self, folder: Path, url: str, database: Database, *, seed: int = 1, lanes: int = 12, lease_seconds: float = 1
    ) -> None:
        """`url` is the store's; `lanes` are how many stories go on at a time."""
        self.database = database
        self.nodes: list[Node] = []
        self.violations: list[str] = []
        self._folder = folder
        self._url = url
        self._lease_seconds = lease_seconds
        self._rng = random.Random(seed)
        self.journal = Journal(folder / "journal.jsonl", seed=seed)
        self._connection = Connection(self.journal, self._rng, _PATIENCE_SECONDS)
        self._lanes = Lanes(lanes, self._connection, folder, self._rng, self._found)
        self._lives = 0

    async def __aenter__(self) -> Self:
        self._lanes.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lanes.close()
        await asyncio.gather(*(node.kill() for node in self.nodes))
        for node in self.nodes:
            await self._connection.down(node.url)
        self.journal.close()

    @property
    def stories(self) -> int:
        """How many have ended."""
        return self._lanes.stories.total()

    async def start(self, count: int = 3) -> list[Node]:
        """Start so many nodes at a time, and wait until each has its share."""
        nodes = [await self.add()]  # which makes the tables
        nodes += await asyncio.gather(*(self.add() for _ in range(count - 1)))
        await self.shared_out()
        return nodes

    async def add(self, *options: str, url: str | None = None) -> Node:
        """Start one more node; `url` is where it finds the store, when not as the others."""
        self._lives += 1
        node = await Node.start(
            f"n{self._lives}",
            self._folder,
            ["bench.torture.cluster.served", "--store", url or self._url,
             "--lease-seconds", str(self._lease_seconds), *options],
            {"BIDE_TORTURE_NOTES": str(self._folder)},
        )  # fmt: skip
        self.nodes.append(node)
        self._connection.up(node.url)
        self.journal.note("up", node.name)
        return node

    async def kill(self, node: Node) -> float:
        """End a node with `kill -9`; when that was."""
        node.send(signal.SIGKILL)
        at = time.time()
        await node.kill()
        await self._forget(node, "killed")
        return at

    async def close(self, node: Node) -> None:
        """End a node with SIGTERM, and look whether it has done so well."""
        code = await node.stop()
        self._found([f"{node.name} ended with {code}"] if code else [])
        await self._forget(node, "closed")

    async def shared_out(self, *, seconds: float = 20) -> None:
        """Wait until exactly the nodes that run own everything, evenly."""
        await self.database.shared_out([node.name for node in self.nodes], seconds=seconds)

    async def some_stories(self, count: int = 8, *, seconds: float = 30) -> None:
        """Wait until so many more stories have ended."""
        goal = self.stories + count
        async with asyncio.timeout(seconds):
            while self.stories < goal:
                await asyncio.sleep(0.02)

    async def finish(self, *, seconds: float = 40) -> list[str]:
        """Let all stories end, close all nodes, and look at what is left; what is wrong with any of it."""
        await self._lanes.end(seconds)
        self._found(await self.database.at_rest())
        await asyncio.gather(*map(self.close, list(self.nodes)))
        self._found(await self.database.left())
        self._found(await self.database.violations())
        return self.violations

    async def _forget(self, node: Node, how: str) -> None:
        self.nodes.remove(node)
        self.journal.note(how, node.name)
        await self._connection.down(node.url)
        self._found(node.complaints())

    def _found(self, violations: Iterable[str]) -> None:
        for violation in violations:
            self.violations.append(violation)
            self.journal.note("violation", violation)
