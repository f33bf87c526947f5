"""Activities that the owner leaves to whichever node has room."""

import asyncio

import msgspec
import pytest
from tests.cluster.nodes import Nodes, die

import bide
from bide.model.nodes import NodeRole
from bide.model.partitions import partition_of
from bide.runtime import jobs

app = bide.App()
gates: list[asyncio.Event] = []


@app.orchestrator
def fan_out(context):
    return (yield context.task_all([context.call_activity("work", number) for number in range(context.get_input())]))


@app.activity
async def work(number):
    gate = asyncio.Event()
    gates.append(gate)
    await gate.wait()
    return number


@app.activity(max_concurrent=3)
async def careful(number):
    return await work(number)


@app.orchestrator
def carefully(context):
    return (yield context.task_all([context.call_activity("careful", number) for number in range(7)]))


@pytest.fixture
async def nodes(monkeypatch):
    """Nodes on which two activities run at a time."""
    monkeypatch.setattr(jobs, "MAX_COROUTINES", 2)
    gates.clear()
    nodes = Nodes(app)
    yield nodes
    for hub in nodes.hubs:
        await hub.close()


def running(hub):
    return len(hub._jobs.running)


def finish(count):
    for _ in range(count):
        gates.pop(0).set()


async def pause():
    """Let everything happen that needs no activity to end."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_activities_go_to_the_nodes_that_have_room(nodes):
    """The owner runs two, the other node two, and the rest wait until somebody has room."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("fan_out", "x", 6)
    await pause()
    assert (running(one), running(two), len(nodes.cluster.activities)) == (2, 2, 4)
    finish(4)
    await pause()
    assert (len(gates), len(nodes.cluster.activities)) == (2, 2)
    finish(2)
    status = await asyncio.wait_for(two.client.wait_for_completion("x"), 5)
    assert status.output == [0, 1, 2, 3, 4, 5]
    assert not nodes.cluster.activities


async def test_what_a_dead_node_had_claimed_is_run_again(nodes):
    """When its claims have run out; what the owner's own process ran, at the next owner."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("fan_out", "x", 6)
    owner, other = nodes.owner_of("x"), nodes.other_than("x")
    await pause()
    await die(owner)
    nodes.hubs.remove(owner)
    for _ in range(10):
        await nodes.clock_on(3)
        await pause()
        finish(len(gates))
    status = await asyncio.wait_for(other.client.wait_for_completion("x"), 5)
    assert status.output == [0, 1, 2, 3, 4, 5]
    assert not nodes.cluster.activities
    assert one is not two


async def test_a_limit_is_for_all_nodes_together(nodes):
    """Three at a time, although there is room for four."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("carefully", "x")
    for left in (3, 3, 1):
        await pause()
        assert (len(gates), running(one) + running(two)) == (left, left)
        finish(left)
    status = await asyncio.wait_for(two.client.wait_for_completion("x"), 5)
    assert status.output == [0, 1, 2, 3, 4, 5, 6]


async def test_the_instance_of_a_running_activity_is_lost(nodes):
    """The new owner runs it again, and has its result; those who wait at the old owner hear of the end."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("fan_out", "x", 1)
    owner, other = nodes.owner_of("x"), nodes.other_than("x")
    await pause()
    end = asyncio.create_task(owner.client.wait_for_completion("x"))
    await pause()
    partition = partition_of("x", 8)
    nodes.cluster.leases[partition].expires_at = 0
    assert await other.store.claim([partition], 6_000_000) == {partition}
    await other.partition.take_over([partition])
    await pause()
    assert (running(owner), running(other)) == (1, 1)
    await owner._cluster.beat()
    assert owner.partition.resident("x") is None
    finish(2)
    assert (await asyncio.wait_for(end, 5)).output == [0]
    assert one is not two


def fail_once(monkeypatch, store, verb):
    working = getattr(store, verb)

    async def fail(*_):
        monkeypatch.setattr(store, verb, working)
        raise bide.StoreUnavailableError("The test wants this to fail.")

    monkeypatch.setattr(store, verb, fail)
    return lambda: getattr(store, verb) == working


async def test_a_partition_that_cannot_be_given_away_now_is_kept_until_it_can(nodes, monkeypatch):
    """Nobody else could take it, and it would be nobody's."""
    one = await nodes.add()
    await one.client.start_new("fan_out", "v", 2)
    await pause()
    has_failed = fail_once(monkeypatch, one.store, "hold_activities")
    two = await nodes.start()
    await pause()
    assert has_failed()
    for _ in range(4):
        await nodes.clock_on(3)
        await pause()
    assert nodes.owner_of("v") is two
    finish(2)
    status = await asyncio.wait_for(one.client.wait_for_completion("v"), 5)
    assert status.output == [0, 1]


async def test_what_a_partition_holds_is_read_although_the_store_failed_when_it_was_taken(nodes, monkeypatch):
    """Else activities that its last owner was running would never be run again."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("fan_out", "x", 1)
    owner, other = nodes.owner_of("x"), nodes.other_than("x")
    await pause()
    await die(owner)
    nodes.hubs.remove(owner)
    gates.clear()
    has_failed = fail_once(monkeypatch, other.store, "active")
    for _ in range(4):
        await nodes.clock_on(3)
        await pause()
    assert has_failed()
    finish(1)
    assert (await asyncio.wait_for(other.client.wait_for_completion("x"), 5)).output == [0]
    assert one is not two


async def test_an_activity_goes_on_while_its_instance_moves(nodes):
    """The new owner does not start it again; its result comes by the inbox."""
    one = await nodes.add()
    await one.client.start_new("fan_out", "v", 2)
    await pause()
    two = await nodes.start()
    await pause()
    assert nodes.owner_of("v") is two
    assert (len(gates), running(one)) == (2, 2)
    finish(2)
    status = await asyncio.wait_for(two.client.wait_for_completion("v"), 5)
    assert status.output == [0, 1]
    assert not nodes.cluster.activities


async def test_an_offer_that_cannot_be_read_stops_no_other(nodes, caplog):
    """It is left where it is, and named; the node goes on claiming."""
    await nodes.add(role=NodeRole.ORCHESTRATIONS)
    await nodes.hubs[0].client.start_new("fan_out", "x", 3)
    await pause()
    damaged = next(iter(nodes.cluster.activities.values()))
    damaged.activity = msgspec.structs.replace(damaged.activity, data=b"\xc1")
    worker = await nodes.start(role=NodeRole.ACTIVITIES)
    await pause()
    finish(len(gates))
    await pause()
    assert len(nodes.cluster.activities) == 1
    assert not worker._tasks[-1].done()
    assert "activity 'work' of instance 'x' cannot be read" in caplog.text
