"""What the runtime takes from the process and the machine: ids, time, the interpreter's settings."""

import asyncio
import gc
import sys

import pytest

from bide import App, ConfigurationError, Hub, HubClosedError
from bide.runtime.clock import SystemClock
from bide.runtime.ids import IdSource
from bide.runtime.interpreter import GC_THRESHOLD, SWITCH_INTERVAL


def test_ids_grow_and_differ():
    """32 hex digits in the layout of UUID version 7, also when more are made than the clock has ticks."""
    source = IdSource()
    ids = [source.new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert all(len(each) == 32 and each[12] == "7" and each[16] in "89ab" for each in ids)


async def test_an_alarm_rings_at_its_time_and_not_before():
    clock, rung = SystemClock(), asyncio.get_running_loop().create_future()
    due = clock.now() + 20_000
    clock.call_at(due, lambda: rung.set_result(clock.now()))
    assert await asyncio.wait_for(rung, 20) >= due


def settings() -> tuple[float, tuple[int, int, int]]:
    return sys.getswitchinterval(), gc.get_threshold()


async def test_the_interpreter_is_tuned_while_any_hub_runs():
    """Threads switch often, the garbage collector comes seldom; afterwards all is as it was."""
    before = settings()
    tuned = (pytest.approx(SWITCH_INTERVAL), (GC_THRESHOLD, *before[1][1:]))
    async with Hub(App(), "memory:"):
        async with Hub(App(), "memory:"):
            assert settings() == tuned
        assert settings() == tuned
    assert settings() == before


async def test_a_garbage_collector_that_is_off_stays_off():
    before = gc.get_threshold()
    gc.set_threshold(0, 10, 10)
    try:
        async with Hub(App(), "memory:"):
            assert gc.get_threshold() == (0, 10, 10)
    finally:
        gc.set_threshold(*before)


async def test_a_hub_is_started_once_and_closed_as_often_as_you_like():
    hub = await Hub(App(), "memory:").start()
    with pytest.raises(ConfigurationError, match="running already"):
        await hub.start()
    await hub.close()
    await hub.close()
    with pytest.raises(HubClosedError):
        _ = hub.client
    async with hub:
        assert (await hub.client.get_status_by()).items == ()
