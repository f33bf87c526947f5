"""What the runtime takes from the process and the machine: ids, time, the switch interval."""

import asyncio
import sys

import pytest

from bide import App, ConfigurationError, Hub, HubClosedError
from bide.runtime.clock import SystemClock
from bide.runtime.gil import SWITCH_INTERVAL
from bide.runtime.ids import IdSource


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


async def test_the_switch_interval_is_lowered_while_any_hub_runs():
    before = sys.getswitchinterval()
    async with Hub(App(), "memory:"):
        async with Hub(App(), "memory:"):
            assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
    assert sys.getswitchinterval() == pytest.approx(before)


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
