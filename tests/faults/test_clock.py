"""Somebody sets the machine's clock, by hours, while timers run.

The engine reads the wall clock in one place, `SystemClock.now`. So a clock that is shifted there, in a real hub on a real file
with the event loop's own time, shows what a machine with another time would; faking the whole process's time would also
shift the monotonic clock that the loop counts by, which no machine does.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

import bide
from bide.core.invariants import problems
from bide.runtime import clock as runtime_clock
from bide.runtime.clock import SystemClock
from bide.store.sqlite import check

HOUR = 3600 * 1_000_000
app = bide.App()


@app.orchestrator
def sleeper(context):
    due = context.current_utc_datetime + timedelta(seconds=context.get_input())
    yield context.create_timer(due)
    return [due.timestamp(), context.current_utc_datetime.timestamp()]


@app.orchestrator
def patient(context):
    return (yield context.wait_for_external_event("Answer", timeout=timedelta(hours=2), default="late"))


class ShiftedClock(SystemClock):
    """The machine's clock, so many hours ahead."""

    hours = 0

    def now(self) -> int:
        return super().now() + self.hours * HOUR


@pytest.fixture
def clock(monkeypatch):
    """A shift is found out within 10 ms instead of 30 s."""
    monkeypatch.setattr(runtime_clock, "_LONGEST_SLEEP", 10_000)
    return ShiftedClock()


async def test_forward(tmp_path, clock):
    """What is due by the new time fires, and not earlier than that; what is not, does not."""
    async with bide.Hub(app, f"sqlite:///{tmp_path}/bide.db", clock=clock) as hub:
        await hub.client.start_new("sleeper", "short", 3600)
        await hub.client.start_new("patient", "waits")
        await hub.client.start_new("sleeper", "long", 3600 * 24)
        clock.hours = 3
        due, woke = (await hub.client.wait_for_completion("short", timeout=20)).output
        assert due <= woke
        assert (await hub.client.wait_for_completion("waits", timeout=20)).output == "late"
        assert not (await hub.client.get_status("long")).runtime_status.is_ended
    assert check(tmp_path / "bide.db", problems).violations == []


async def test_back(tmp_path, clock):
    """Timers wait for their time, events do not; new ids do not meet old ones; a restart changes nothing of it."""
    path = tmp_path / "bide.db"
    async with bide.Hub(app, f"sqlite:///{path}", clock=clock) as hub:
        await hub.client.start_new("sleeper", "s", 0.2)
        await hub.client.start_new("patient", "p")
        clock.hours = -3
        await hub.client.raise_event("p", "Answer", "in time", event_id="a")
        assert (await hub.client.wait_for_completion("p", timeout=20)).output == "in time"
        await hub.client.start_new("sleeper", "new", 0.01)
        due, woke = (await hub.client.wait_for_completion("new", timeout=20)).output
        assert due <= woke
        ids = [await hub.client.start_new("patient") for _ in range(3)]
        assert len(set(ids)) == len(ids)
        assert not (await hub.client.get_status("s")).runtime_status.is_ended
    assert check(path, problems).violations == []
    clock.hours = 0
    async with bide.Hub(app, f"sqlite:///{path}", clock=clock) as hub:
        due, woke = (await hub.client.wait_for_completion("s", timeout=20)).output
        assert due <= woke


async def test_a_start_at_a_time_of_the_day(tmp_path, clock):
    """It means the time on the wall, whatever happens to the clock on the way there."""
    async with bide.Hub(app, f"sqlite:///{tmp_path}/bide.db", clock=clock) as hub:
        at = datetime.now(UTC) + timedelta(hours=2)
        await hub.client.start_new("sleeper", "later", 0, start_at=at)
        clock.hours = -1
        await asyncio.sleep(0)
        assert (await hub.client.get_status("later")).runtime_status.label == "Pending"
        clock.hours = 3
        assert (await hub.client.wait_for_completion("later", timeout=20)).output[1] >= at.timestamp()


async def test_back_and_forth(tmp_path, clock):
    """Under load, the clock jumps between any two events: each is consumed once, in order."""
    async with bide.Hub(app, f"sqlite:///{tmp_path}/bide.db", clock=clock) as hub:
        for number in range(60):
            clock.hours = (0, 7, -7)[number % 3]
            name = f"p{number // 3}"
            await hub.client.start_new("patient", name, id_reuse=bide.IdReusePolicy.REPLACE_ANY)
            await hub.client.raise_event(name, "Answer", number, event_id=str(number))
            assert (await hub.client.wait_for_completion(name, timeout=20)).output in (number, "late")
    assert check(tmp_path / "bide.db", problems).violations == []
