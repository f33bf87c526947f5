"""Timers of several nodes: they ring at the owner, whenever a partition moves."""

import asyncio
from datetime import timedelta

import pytest
from tests.cluster.nodes import Nodes

import bide
from bide import OrchestrationRuntimeStatus as Status
from bide.store.base import Due

app = bide.App()


@app.orchestrator
def nap(context):
    yield context.create_timer(timedelta(seconds=10))


@pytest.fixture
async def nodes():
    nodes = Nodes(app)
    yield nodes
    for hub in nodes.hubs:
        await hub.close()


async def test_timers_ring_after_some_that_were_just_given_away(nodes, monkeypatch):
    """Those that are due while a partition is on its way are the next owner's, and keep nobody from his own."""
    monkeypatch.setattr("bide.runtime.timers._AT_A_TIME", 1)
    one = await nodes.add(lease=timedelta(minutes=5))
    for number in range(40):
        await one.client.start_new("nap", f"i{number}")
    is_asked, may_go_on = asyncio.Event(), asyncio.Event()
    release = one.store.release

    async def release_late(partitions):
        is_asked.set()
        await may_go_on.wait()
        await release(partitions)

    monkeypatch.setattr(one.store, "release", release_late, raising=False)
    two = await nodes.start(lease=timedelta(minutes=5))
    await is_asked.wait()
    nodes.clock.move_to(nodes.clock.now() + 10_500_000)
    for _ in range(300):
        await asyncio.sleep(0)
    may_go_on.set()
    await nodes.settle()
    await nodes.advance(20)
    assert nodes.owned(two)
    page = await one.client.get_status_by()
    assert {status.runtime_status for status in page.items} == {Status.COMPLETED}


async def test_a_timer_rings_that_is_due_before_the_last_ones_are_read(nodes, monkeypatch):
    """It was set while the store was slow to tell what is due, and is not among that."""
    hub = await nodes.add()
    is_asked, may_go_on = asyncio.Event(), asyncio.Event()
    due = hub.store.due

    async def due_late(now, limit):
        found = await due(now, limit)
        is_asked.set()
        await may_go_on.wait()
        return found

    await hub.client.start_new("nap", "x")
    monkeypatch.setattr(hub.store, "due", due_late, raising=False)
    await hub.client.terminate("x")
    await nodes.advance(11)
    await is_asked.wait()
    await hub.client.start_new("nap", "z")
    await nodes.advance(20)
    may_go_on.set()
    await nodes.advance(60)
    assert (await hub.client.get_status("z")).runtime_status is Status.COMPLETED


async def test_a_timer_that_is_not_ours_to_ring_is_not_asked_for_all_the_time(nodes, monkeypatch):
    """Another node has taken the instance and set a timer, and this one has not heard of it yet."""
    hub = await nodes.add()
    await hub.client.start_new("nap", "x")
    asked = []

    async def due(now, _limit):
        asked.append(now)
        return Due(["x"], None)

    monkeypatch.setattr(hub.store, "due", due, raising=False)
    await nodes.advance(5)
    hub._partition._timers.arm(nodes.clock.now())
    for _ in range(200):
        await asyncio.sleep(0)
    await nodes.settle()
    assert len(asked) == 1
    monkeypatch.undo()
    await nodes.advance(20)
    assert (await hub.client.get_status("x")).runtime_status is Status.COMPLETED
