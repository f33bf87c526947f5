"""`max_concurrent`: how many of an activity run at a time."""

import asyncio

import pytest

import bide
from bide.testing import Harness

app = bide.App()
running: list[int] = []
most: list[int] = []
started: list[int] = []


@app.orchestrator
def fan_out(context):
    tasks = [context.call_activity(name, number) for name in context.get_input() for number in range(6)]
    return (yield context.task_all(tasks))


@app.activity(max_concurrent=2)
async def careful(number):
    started.append(number)
    running.append(number)
    most.append(len(running))
    for _ in range(number):
        await asyncio.sleep(0)
    running.remove(number)
    if number == 3:
        raise ValueError(number)
    return number


@app.activity(max_concurrent=1)
def plain(number):
    running.append(number)
    most.append(len(running))
    running.remove(number)
    return number


@pytest.fixture(autouse=True)
def nothing_runs():
    for each in (running, most, started):
        each.clear()


async def test_no_more_than_so_many_run_at_a_time():
    """The others wait, in order; one that fails makes room too."""
    async with Harness(app) as harness:
        await harness.client.start_new("fan_out", "x", ["careful"])
        await harness.run_until_idle()
        status = await harness.client.get_status("x")
        assert status.failure.message.startswith("careful failed: ValueError")
    assert (max(most), started) == (2, [0, 1, 2, 3, 4, 5])


async def test_plain_functions_too():
    """They run on threads, one after the other."""
    async with Harness(app) as harness:
        await harness.client.start_new("fan_out", "x", ["plain"])
        assert (await harness.client.wait_for_completion("x", timeout=20)).output == [0, 1, 2, 3, 4, 5]
    assert max(most) == 1


def test_a_bound_below_one_is_refused():
    """Nothing would ever run."""
    with pytest.raises(bide.ConfigurationError, match="max_concurrent of activity"):
        bide.App().activity(max_concurrent=0)(lambda: None)
