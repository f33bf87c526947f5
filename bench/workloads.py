"""The workloads; each returns lines of figures. All run in process, on an SQLite file with synchronous=FULL."""

import asyncio
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import bide
from bench.app import app
from bide import OrchestrationRuntimeStatus as Status

try:
    from uvloop import run
except ImportError:
    from asyncio import run

Lines = list[str]


async def w1(folder: Path) -> Lines:
    """Start, wait, raise, one activity, completion seen by the client; so many at a time."""
    lines = []
    for in_flight in (1, 64, 256):
        async with hub(folder, f"w1-{in_flight}") as running:
            rate, taken = await closed_loop(
                lambda: approve(running.client), in_flight, 500 if in_flight == 1 else 15_000
            )
            lines.append(f"{in_flight:4} in flight: {rate:8,.0f}/s  {quantiles(taken)}")
    return lines


async def w1_busy(folder: Path) -> Lines:
    """W1, 256 in flight, while the process computes without pause: a thread of its own, activities on threads, in workers."""
    lines = [f"               one thread: {await _w1_beside_a_thread(folder)}"]
    for name, where in (("spin", "threads"), ("spin_elsewhere", "worker processes")):
        async with hub(folder, f"w1-{name}") as running:
            for _ in range(2):
                await running.client.start_new("compute", client_input=name)
            await asyncio.sleep(1)  # the workers start
            rate, taken = await closed_loop(lambda: approve(running.client), 256, 5000)
        lines.append(f"  two activities, {where}: {rate:8,.0f}/s  {quantiles(taken)}")
    return lines


async def _w1_beside_a_thread(folder: Path) -> str:
    is_over = threading.Event()
    thread = threading.Thread(target=_spin, args=(is_over,))
    async with hub(folder, "w1-busy") as running:
        thread.start()
        try:
            rate, taken = await closed_loop(lambda: approve(running.client), 256, 5000)
        finally:
            is_over.set()
            thread.join()
    return f"{rate:8,.0f}/s  {quantiles(taken)}"


def _spin(is_over: threading.Event) -> None:
    while not is_over.is_set():
        sum(range(100))


async def w1_two(folder: Path) -> Lines:
    """W1, 256 in flight, in one process, and in two at the same time with a store each."""
    lines = []
    for count in (1, 2):
        names = [f"two-{count}-{number}" for number in range(count)]
        processes = [await start_alone(folder, name) for name in names]
        for process in processes:
            assert process.stdout is not None
            await process.stdout.readline()  # it is ready
        said = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
        rates = [float(out) for out, _ in said]
        lines.append(f"{count} processes: {sum(rates):8,.0f}/s")
    return lines


async def start_alone(folder: Path, name: str) -> asyncio.subprocess.Process:
    code = f"from bench.workloads import run_alone; run_alone({str(folder)!r}, {name!r})"
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)


def run_alone(folder: str, name: str) -> None:
    """Say that we are ready, wait for a line, run W1, say the rate."""

    async def main() -> None:
        async with hub(Path(folder), name) as running:
            await closed_loop(lambda: approve(running.client), 256, 2000)
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            rate, _ = await closed_loop(lambda: approve(running.client), 256, 30_000)
            print(rate, flush=True)

    run(main())


async def w2(folder: Path) -> Lines:
    """Raise until completion is seen, one at a time."""
    taken = []
    async with hub(folder, "w2") as running:
        for _ in range(1000):
            instance_id = await running.client.start_new("approval")
            begin = time.perf_counter()
            await running.client.raise_event(instance_id, "Approval", True)
            await running.client.wait_for_completion(instance_id)
            taken.append(time.perf_counter() - begin)
    return [quantiles(taken)]


async def w3(folder: Path, count: int = 100_000) -> Lines:
    """Park 100,000 instances: bytes of memory and disk each, wake-up of cold ones, start after kill -9."""
    command = [
        sys.executable,
        "-c",
        f"import asyncio; from bench.workloads import park; asyncio.run(park({str(folder)!r}, {count}))",
    ]
    parked = subprocess.run(command, capture_output=True, text=True, check=False)  # it kills itself at the end
    ids = (folder / "ids").read_text().split()
    size = sum(path.stat().st_size for path in folder.glob("w3.db*")) / count
    begin = time.perf_counter()
    async with hub(folder, "w3") as running:
        started = time.perf_counter() - begin
        taken = []
        for instance_id in random.sample(ids, 1000):
            begin = time.perf_counter()
            await running.client.raise_event(instance_id, "Approval", True)
            taken.append(time.perf_counter() - begin)
    return [
        parked.stdout.strip(),
        f"{size:.0f} bytes on disk each, start after kill -9 {started * 1000:.0f} ms",
        f"cold raise {quantiles(taken)}",
    ]


async def park(folder: str, count: int) -> None:
    """Start `count` instances that wait, tell the memory, and die by kill -9."""
    async with hub(Path(folder), "w3", max_resident=100) as running:
        memory = [(resident_kib(), sys.getallocatedblocks())]
        with Path(folder, "ids").open("w") as ids:
            for number in range(0, count, 1000):
                started = [running.client.start_new("approval", client_input="A-17") for _ in range(1000)]
                ids.write("\n".join(await asyncio.gather(*started)) + "\n")
                if number + 1000 in (count // 2, count):
                    memory.append((resident_kib(), sys.getallocatedblocks()))
        (before, _), (half, blocks), (end, blocks_end) = memory
        print(
            f"memory {before:,} KiB before, {half:,} with {count // 2:,} parked, {end:,} with {count:,} "
            f"(SQLite caches up to 64 MiB); Python objects {blocks:,}, {blocks_end:,}",
            flush=True,
        )
        os.kill(os.getpid(), 9)


async def million(folder: Path) -> Lines:
    """A million parked, and half a million ended: memory, disk, start, cold wake-ups, queries, retention (minutes)."""
    lines = await w3(folder, 1_000_000)
    async with hub(folder, "w3") as running:
        client = running.client
        ids = (folder / "ids").read_text().split()
        token, tokens = None, []
        for _ in range(50):
            page = await client.get_status_by(page_size=1000, continuation_token=token)
            tokens.append(token := page.continuation_token)
        queries = {
            "first page of the list": client.get_status_by,
            "page 50,000 rows on": lambda: client.get_status_by(continuation_token=tokens[-1]),
            "Running": lambda: client.get_status_by(runtime_status=[Status.RUNNING]),
            "Failed (none)": lambda: client.get_status_by(runtime_status=[Status.FAILED]),
            "by prefix of the id": lambda: client.get_status_by(instance_id_prefix=ids[500_000][:20]),
            "waiting for Approval": lambda: client.get_status_by(waiting_for="Approval"),
            "waits for Approval": lambda: client.waits(name="approval"),
            "status of one": lambda: client.get_status(ids[-1]),
        }
        for name, query in queries.items():
            lines.append(f"{name:24} {quantiles([await _timed(query) for _ in range(20)])}")
    return lines + await _retention(folder, 500_000)


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    begin = time.perf_counter()
    await work()
    return time.perf_counter() - begin


async def _retention(folder: Path, count: int) -> Lines:
    """Purge ended instances while others work."""
    async with hub(folder, "ended") as running:
        for _ in range(0, count, 1000):
            await asyncio.gather(*(running.client.start_new("chain", client_input=0) for _ in range(1000)))
        begin = time.perf_counter()
        purge = asyncio.create_task(running.client.purge_by())
        taken = []
        while not purge.done():
            taken.append(await _timed(lambda: running.client.start_new("approval")))
            await asyncio.sleep(0.01)
        rate = await purge / (time.perf_counter() - begin)
        return [f"purge of {count:,} ended ones: {rate:,.0f}/s; starts meanwhile {quantiles(taken)}"]


async def w4(folder: Path) -> Lines:
    """Events to one instance that consumes them one by one."""
    lines = []
    for count in (1_000, 10_000):
        async with hub(folder, f"w4-{count}") as running:
            instance_id = await running.client.start_new("consumer", client_input=count)
            begin = time.perf_counter()
            await asyncio.gather(*[running.client.raise_event(instance_id, "e", n) for n in range(count)])
            await running.client.wait_for_completion(instance_id)
            lines.append(f"{count:6,} events: {count / (time.perf_counter() - begin):8,.0f}/s")
    return lines


async def w5(folder: Path) -> Lines:
    """A chain of 100 activities, in so many instances at a time."""
    lines = []
    for in_flight in (1, 64):
        async with hub(folder, f"w5-{in_flight}") as running:
            rate, _ = await closed_loop(lambda: complete(running.client, "chain", 100), in_flight, in_flight * 3)
            lines.append(f"{in_flight:4} in flight: {rate * 100:8,.0f} steps/s")
    return lines


async def w6(folder: Path) -> Lines:
    """Fan out to so many activities and wait for all; the last in worker processes."""
    lines = []
    for name, count in (("fan_out", 1_000), ("fan_out", 10_000), ("fan_out_elsewhere", 10_000)):
        async with hub(folder, f"w6-{name}-{count}") as running:
            await complete(running.client, name, 10)  # the workers start
            begin = time.perf_counter()
            await complete(running.client, name, count)
            lines.append(f"{count:6,} activities, {name}: {count / (time.perf_counter() - begin):8,.0f}/s")
    return lines


def hub(folder: Path, name: str, **options: int) -> bide.Hub:
    return bide.Hub(app, url_of(folder, name), **options)


def url_of(folder: Path, name: str) -> str:
    """URL of the store of that name: a file, or a schema of the server that bench.cluster has started."""
    server = os.environ.get("BENCH_POSTGRES")
    if server is None:
        return f"sqlite:///{folder}/{name}.db"
    return f"{server}?schema=bench_{name.replace('-', '_')}"


async def approve(client: bide.Client) -> None:
    instance_id = await client.start_new("approval")
    await client.raise_event(instance_id, "Approval", True)
    await client.wait_for_completion(instance_id)


async def complete(client: bide.Client, name: str, size: int) -> None:
    await client.wait_for_completion(await client.start_new(name, client_input=size))


async def closed_loop(once: Callable[[], Awaitable[None]], in_flight: int, count: int) -> tuple[float, list[float]]:
    """Do `once` `count` times, `in_flight` at a time; the rate per second, and how long each took."""
    left, taken = iter(range(count)), []

    async def worker() -> None:
        for _ in left:
            begin = time.perf_counter()
            await once()
            taken.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*[worker() for _ in range(in_flight)])
    return count / (time.perf_counter() - begin), taken


def quantiles(taken: list[float]) -> str:
    cuts = statistics.quantiles(taken, n=100)
    return f"p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms"


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
