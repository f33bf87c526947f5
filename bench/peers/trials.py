"""The workloads, run against any engine; each returns figures by name. Rates are per second, times in milliseconds."""

import asyncio
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.peers.engine import Engine, Opener, Place, Scale

IN_FLIGHT = 64
CHAIN = 100
FAN_OUT = 1_000

Figures = dict[str, float]
Trial = Callable[[Opener, Place, Scale], Awaitable[Figures]]


async def w1(opened: Opener, place: Place, scale: Scale) -> Figures:
    """Start, wait, raise, one activity, completion seen by the client; 64 in flight."""
    async with opened(place) as engine:
        await _approve(engine)
        rate, taken = await closed_loop(lambda: _approve(engine), scale.approvals)
    return {"rate": rate, **quantiles(taken)}


async def w2(opened: Opener, place: Place, scale: Scale) -> Figures:
    """Raise until completion is seen, one at a time, of instances that wait."""
    taken = []
    async with opened(place) as engine:
        ids = await _waiting(engine, scale.singles)
        for instance_id in ids:
            begin = time.perf_counter()
            await engine.raise_event(instance_id, "Approval", 0)
            await engine.completed(instance_id)
            taken.append(time.perf_counter() - begin)
    return quantiles(taken)


async def park(opened: Opener, place: Place, scale: Scale) -> Figures:
    """Start instances that wait, and crash. The first half of W3."""
    async with opened(place) as engine:
        ids = await _waiting(engine, scale.parked)
        _ids_of(place).write_text(json.dumps(ids))
        await engine.kill()
    return {}


async def restart(opened: Opener, place: Place, scale: Scale) -> Figures:
    """From the start of the engine until 20 of the parked instances were raised and are seen completed."""
    ids = random.sample(json.loads(_ids_of(place).read_text()), 20)
    begin = time.perf_counter()
    async with opened(place) as engine:

        async def approve(instance_id: str) -> None:
            await engine.raise_event(instance_id, "Approval", 0)
            await engine.completed(instance_id)

        await asyncio.gather(*map(approve, ids))
        return {"restart": (time.perf_counter() - begin) * 1000, "parked": scale.parked}


async def w4(opened: Opener, place: Place, scale: Scale) -> Figures:
    """Events consumed one by one by one instance; raised 64 at a time."""
    async with opened(place) as engine:
        instance_id = await engine.start("consumer", scale.events)
        numbers = iter(range(scale.events))
        begin = time.perf_counter()
        await closed_loop(lambda: engine.raise_event(instance_id, "e", next(numbers)), scale.events)
        await engine.completed(instance_id)
        return {"rate": scale.events / (time.perf_counter() - begin)}


async def w5(opened: Opener, place: Place, scale: Scale) -> Figures:
    """Steps of chains of 100 activities; one instance, and 64 at a time."""
    async with opened(place) as engine:
        await _complete(engine, "chain", 1)
        alone, _ = await closed_loop(lambda: _complete(engine, "chain", CHAIN), scale.chains, 1)
        together, _ = await closed_loop(lambda: _complete(engine, "chain", CHAIN), scale.chains_together)
    return {"alone": alone * CHAIN, "together": together * CHAIN}


async def w6(opened: Opener, place: Place, scale: Scale) -> Figures:
    """Activities of a fan-out of 1,000."""
    async with opened(place) as engine:
        await _complete(engine, "fan_out", 1)
        rate, _ = await closed_loop(lambda: _complete(engine, "fan_out", FAN_OUT), scale.fan_outs, 1)
    return {"rate": rate * FAN_OUT}


TRIALS: dict[str, Trial] = {"W1": w1, "W2": w2, "W4": w4, "W5": w5, "W6": w6, "park": park, "restart": restart}


async def closed_loop(
    once: Callable[[], Awaitable[None]], count: int, in_flight: int = IN_FLIGHT
) -> tuple[float, list[float]]:
    """Do `once` `count` times, `in_flight` at a time; the rate, and how long each took in seconds."""
    left, taken = iter(range(count)), []

    async def worker() -> None:
        for _ in left:
            begin = time.perf_counter()
            await once()
            taken.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*[worker() for _ in range(in_flight)])
    return count / (time.perf_counter() - begin), taken


def quantiles(taken: list[float]) -> Figures:
    cuts = statistics.quantiles(taken, n=100)
    return {"p50": cuts[49] * 1000, "p99": cuts[98] * 1000}


async def _waiting(engine: Engine, count: int) -> list[str]:
    """Start instances, and let one complete behind them: they have come to their wait."""
    ids = []

    async def start() -> None:
        ids.append(await engine.start("approval", 0))

    await closed_loop(start, count)
    await _approve(engine)
    return ids


async def _approve(engine: Engine) -> None:
    instance_id = await engine.start("approval", 0)
    await engine.raise_event(instance_id, "Approval", 0)
    await engine.completed(instance_id)


async def _complete(engine: Engine, workflow: str, size: int) -> None:
    await engine.completed(await engine.start(workflow, size))


def _ids_of(place: Place) -> Path:
    return place.folder / "parked.json"
