"""Timer triggers: when they ring, and what they know of rings that were missed."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bide.errors import ConfigurationError
from bide.functions.function import Function, parse_bindings
from bide.functions.timer_trigger import Schedule, Timer
from bide.store import MemoryStore

NOON = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 */5 * * * *", NOON + timedelta(minutes=5)),
        ("*/10 * * * * *", NOON + timedelta(seconds=10)),
        ("30 0 9-17 * * MON-FRI", NOON + timedelta(seconds=30)),
        ("0 0 0 1 * *", datetime(2026, 4, 1, tzinfo=UTC)),
        ("*/5 * * * *", NOON + timedelta(minutes=5)),
        ("00:00:30", NOON + timedelta(seconds=30)),
    ],
)
def test_schedules(schedule, expected):
    assert Schedule(schedule).after(NOON) == expected


@pytest.mark.parametrize("schedule", ["", "every day", "61 * * * * *", "00:00:00", "* * *", "999999999.00:00:00"])
def test_what_is_no_schedule(schedule):
    with pytest.raises(ConfigurationError, match="schedule"):
        Schedule(schedule)


class Time:
    """A clock that is moved by sleeping."""

    def __init__(self):
        self.at = NOON

    def now(self):
        return self.at

    async def sleep(self, seconds):
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def time():
    return Time()


async def rings(time, store, count, *, is_shared=False, **trigger):
    bindings = parse_bindings([{"type": "timerTrigger", "name": "timer", **trigger}], "test")
    function = Function("tick", lambda timer: None, bindings, "test", Path())
    timer = Timer(function, store, is_shared=is_shared, now=time.now, sleep=time.sleep)
    found = []

    async def call(value):
        request = value.for_parameter(bindings[0], timer.function.parameters["timer"])
        found.append((time.at, request.past_due))
        if len(found) == count:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await timer.run(call)
    return found


@pytest.fixture
async def store():
    store = MemoryStore()
    await store.open()
    return store


async def test_it_rings_on_time(time, store):
    assert await rings(time, store, 2, schedule="0 0 * * * *") == [
        (NOON + timedelta(hours=1), False),
        (NOON + timedelta(hours=2), False),
    ]


async def test_on_startup(time, store):
    assert await rings(time, store, 2, schedule="0 0 * * * *", runOnStartup=True) == [
        (NOON, False),
        (NOON + timedelta(hours=1), False),
    ]


async def test_rings_missed_while_nobody_was_there_are_made_up_for_once(time, store):
    await rings(time, store, 1, schedule="0 0 * * * *")
    time.at += timedelta(hours=5, minutes=30)
    assert await rings(time, store, 2, schedule="0 0 * * * *") == [
        (NOON + timedelta(hours=6, minutes=30), True),
        (NOON + timedelta(hours=7), False),
    ]


@pytest.mark.parametrize("schedule", ["*/20 * * * * *", "00:00:20"])
async def test_of_several_nodes_one_rings(store, schedule):
    """Each ring is one node's; a node whose clock is behind finds that its rings are done."""
    one, two = Time(), Time()
    two.at += timedelta(seconds=7)
    first = await rings(one, store, 3, is_shared=True, schedule=schedule)
    second = await rings(two, store, 2, is_shared=True, schedule=schedule)
    at = [NOON + timedelta(seconds=20 * number) for number in range(1, 6)]
    assert ([when for when, _ in first], [when for when, _ in second]) == (at[:3], at[3:])


async def test_a_store_that_fails_does_not_stop_it(time, store):
    await store.close()
    store.get_setting = nothing_stored
    assert len(await rings(time, store, 3, schedule="0 0 * * * *")) == 3


async def nothing_stored(_):
    return None


async def test_without_monitor_nobody_keeps_account(time, store):
    await rings(time, store, 1, schedule="0 0 * * * *", useMonitor=False)
    time.at += timedelta(hours=5, minutes=30)
    assert await rings(time, store, 1, schedule="0 0 * * * *", useMonitor=False) == [(NOON + timedelta(hours=7), False)]
