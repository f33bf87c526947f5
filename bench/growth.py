"""What grows: history, fan-out, timers, payloads, the number of those who wake, the length of a turn."""

import asyncio
import time
from pathlib import Path

import bide
from bench.workloads import Lines, closed_loop, complete, hub, quantiles, resident_kib

_CLIENTS = 256


async def growth(folder: Path) -> Lines:
    """Whether cost stays flat (a minute or two)."""
    lines = []
    for workload in (_history, _generations, _fan_out, _timers, _payloads, _cold, _blocking):
        lines += [f"{workload.__doc__}:", *(f"  {line}" for line in await workload(folder))]
    return lines


async def _history(folder: Path) -> Lines:
    """Events consumed by one instance"""
    memory = resident_kib()
    async with hub(folder, "history") as running:
        instance_id = await running.client.start_new("consumer", client_input=110_000)
        lines = await _raise_many(running.client, instance_id)
        lines.append(f"memory for 100,000 events in one instance: {resident_kib() - memory:,} KiB")
    async with hub(folder, "history") as running:
        cold, warm = [await _raise(running.client, instance_id) * 1000 for _ in range(2)]
        lines.append(f"first event after a restart: {cold:.0f} ms, the next {warm:.1f} ms")
        begin = time.perf_counter()
        await running.client.get_history(instance_id)
        lines.append(f"its history read by a client: {(time.perf_counter() - begin) * 1000:.0f} ms")
    return lines


async def _generations(folder: Path) -> Lines:
    """Events consumed by one instance that continues as new after a hundred"""
    async with hub(folder, "generations") as running:
        instance_id = await running.client.start_new("rounds", client_input=1_000_000)
        return await _raise_many(running.client, instance_id)


async def _raise_many(client: bide.Client, instance_id: str) -> Lines:
    lines, done = [], 0
    for goal in (10, 100, 1_000, 10_000, 100_000):
        cost = Cost()
        await closed_loop(lambda: client.raise_event(instance_id, "e"), min(_CLIENTS, goal), goal - done)
        lines.append(f"event {done + 1:6,} to {goal:7,}: {cost.each(goal - done)}")
        done = goal
    return lines


class Cost:
    """What something takes, from now on: of time, and of this process's CPU, which other programs do not disturb much."""

    def __init__(self) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def each(self, count: int) -> str:
        taken, computed = time.perf_counter() - self._begin[0], time.process_time() - self._begin[1]
        return f"{taken / count * 1e6:6.1f} us each, {computed / count * 1e6:6.1f} us of CPU"


async def _raise(client: bide.Client, instance_id: str, event: str = "e") -> float:
    begin = time.perf_counter()
    await client.raise_event(instance_id, event, True)
    return time.perf_counter() - begin


async def _fan_out(folder: Path) -> Lines:
    """Activities in one fan-out"""
    lines = []
    for count in (100, 1_000, 10_000):
        async with hub(folder, f"fan-{count}") as running:
            cost = Cost()
            await complete(running.client, "fan_out", count)
            lines.append(f"{count:6,} activities: {cost.each(count)}")
    return lines


async def _timers(folder: Path) -> Lines:
    """Timers of as many instances, due at the same moment"""
    lines = []
    for count in (1_000, 10_000):
        async with hub(folder, f"timers-{count}") as running:
            due = time.time() + 3 + count / 1000
            ids = await asyncio.gather(*[running.client.start_new("alarm", client_input=due) for _ in range(count)])
            if time.time() > due:
                lines.append(f"{count:6,} timers: this machine is too busy to start them before they are due")
                continue
            ends = await asyncio.gather(*[running.client.wait_for_completion(each) for each in ids])
            last = time.time() - due
            late = [float(end.output) for end in ends]
            lines.append(f"{count:6,} timers: {quantiles(late)}, all stored and seen after {last * 1000:.0f} ms")
    return lines


async def _payloads(folder: Path) -> Lines:
    """Events with data, to as many instances, consumed"""
    return [
        await _with_payload(folder, size, count)
        for size, count in ((10, 5_000), (1 << 10, 5_000), (1 << 17, 500), ((1 << 20) - 2, 100))
    ]


async def _with_payload(folder: Path, size: int, count: int) -> str:
    data = "x" * size
    async with hub(folder, f"payload-{size}") as running:
        ids = iter([await running.client.start_new("approval") for _ in range(count)])

        async def once() -> None:
            instance_id = next(ids)
            await running.client.raise_event(instance_id, "Approval", data)
            await running.client.wait_for_completion(instance_id)

        cost = Cost()
        rate, taken = await closed_loop(once, 16, count)
    return f"{size:9,} bytes: {cost.each(count)}, {rate * size / 1e6:.1f} MB/s, {quantiles(taken)}"


async def _cold(folder: Path) -> Lines:
    """Instances woken at once right after a restart"""
    lines = []
    async with hub(folder, "cold") as running:
        ids = [await running.client.start_new("approval") for _ in range(1000)]
        long = [await running.client.start_new("consumer", client_input=1_000) for _ in range(100)]
        for each in long:
            await asyncio.gather(*[running.client.raise_event(each, "e") for _ in range(500)])
    for name, event, those in (("short", "Approval", ids), ("of 500 events", "e", long)):
        async with hub(folder, "cold") as running:
            cost = Cost()
            taken = await asyncio.gather(*[_raise(running.client, each, event) for each in those])
            lines.append(f"{len(those):5,} instances {name}: {cost.each(len(those))}, {quantiles(list(taken))}")
    return lines


async def _blocking(folder: Path) -> Lines:
    """Raises to others while one orchestrator computes for 100 ms in each turn"""
    async with hub(folder, "blocking") as running:
        slow = await running.client.start_new("blocking")
        other = await running.client.start_new("consumer", client_input=1_000_000)
        is_over = False

        async def block() -> None:
            while not is_over:
                await running.client.raise_event(slow, "e")
                await asyncio.sleep(0.2)

        blocker = asyncio.create_task(block())
        taken = []
        end = time.perf_counter() + 6
        while time.perf_counter() < end:
            taken.append(await _raise(running.client, other))
            await asyncio.sleep(0.001)
        is_over = True
        await blocker
    return [f"{quantiles(taken)}, longest {max(taken) * 1000:.0f} ms"]
