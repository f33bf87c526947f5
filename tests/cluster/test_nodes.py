"""Several hubs on one store: who handles what, and how the others reach it."""

import asyncio

import pytest
from tests.cluster.nodes import Nodes, die

import bide
from bide.model.nodes import NodeRole
from bide.model.partitions import partition_of

app = bide.App()


@app.orchestrator
def approval(context):
    approved = yield context.wait_for_external_event("Approval")
    return (yield context.call_activity("double", approved))


@app.activity
async def double(value):
    return [value, value]


@app.orchestrator
def parent(context):
    children = [context.call_sub_orchestrator("approval", instance_id=f"child-{n}") for n in range(8)]
    return (yield context.task_all(children))


@pytest.fixture
async def nodes():
    nodes = Nodes(app)
    yield nodes
    for hub in nodes.hubs:
        await hub.close()


async def test_partitions_are_shared_out_evenly(nodes):
    """As nodes come and go; nothing is owned twice, and nothing is left."""
    await nodes.add()
    assert len(nodes.owned(nodes.hubs[0])) == 8
    await nodes.add()
    await nodes.add()
    assert sorted(len(nodes.owned(hub)) for hub in nodes.hubs) == [2, 3, 3]
    await nodes.remove(nodes.hubs[0])
    assert sorted(len(nodes.owned(hub)) for hub in nodes.hubs) == [4, 4]


async def test_every_node_reaches_every_instance(nodes):
    """Start, raise, query, wait for the end: also where another node handles the instance."""
    one, two = await nodes.add(), await nodes.add()
    for number in range(16):
        instance_id = f"i{number}"
        assert await one.client.start_new("approval", instance_id) == instance_id
        assert not (await two.client.raise_event(instance_id, "Approval", number, event_id="e")).is_duplicate
        for hub in (one, two):
            status = await asyncio.wait_for(hub.client.wait_for_completion(instance_id), 5)
            assert status.output == [number, number]
    assert not nodes.cluster.inbox


async def test_errors_come_back_as_they_are(nodes):
    """With their class and attributes, whichever node handles the instance."""
    one, two = await nodes.add(), await nodes.add()
    for hub in (one, two):
        for instance_id in ("a", "b", "c", "d"):
            with pytest.raises(bide.InstanceNotFoundError) as missing:
                await hub.client.raise_event(f"no-{instance_id}", "Approval")
            assert missing.value.instance_id == f"no-{instance_id}"
            with pytest.raises(bide.InstanceNotFoundError):
                await hub.client.wait_for_completion(f"no-{instance_id}")
            with pytest.raises(bide.OrchestratorNotFoundError) as unknown:
                await hub.client.start_new("aproval", instance_id)
            assert unknown.value.known == ("approval", "parent")
    await one.client.start_new("approval", "x")
    await two.client.terminate("x", "enough")
    for hub in (one, two):
        with pytest.raises(bide.InstanceEndedError) as ended:
            await hub.client.raise_event("x", "Approval")
        assert (ended.value.instance_id, ended.value.runtime_status) == ("x", "Terminated")


async def test_what_is_started_without_an_id_stays_here(nodes):
    """The id is one of a partition that this node owns."""
    await nodes.add()
    two = await nodes.add()
    for _ in range(20):
        instance_id = await two.client.start_new("approval")
        assert partition_of(instance_id, 8) in nodes.owned(two)


async def test_children_live_anywhere(nodes):
    """A parent's children are spread by their ids; their results come back."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("parent", "p")
    await nodes.settle()
    assert {nodes.owner_of(f"child-{n}") for n in range(8)} == {one, two}
    for number in range(8):
        await one.client.raise_event(f"child-{number}", "Approval", number)
    status = await asyncio.wait_for(two.client.wait_for_completion("p"), 5)
    assert status.output == [[number, number] for number in range(8)]


async def test_partitions_move_with_all_that_waits(nodes):
    """A node that comes takes over instances in flight; those who wait for their end hear of it."""
    one = await nodes.add()
    for number in range(16):
        await one.client.start_new("approval", f"i{number}")
    ends = [asyncio.create_task(one.client.wait_for_completion(f"i{number}")) for number in range(16)]
    await nodes.settle()
    two = await nodes.add()
    assert len(nodes.owned(two)) == 4
    for number in range(16):
        await two.client.raise_event(f"i{number}", "Approval", number)
    statuses = await asyncio.wait_for(asyncio.gather(*ends), 5)
    assert [status.output for status in statuses] == [[number, number] for number in range(16)]


async def test_what_is_raised_while_nobody_owns_the_instance_is_not_lost(nodes):
    """The node that dies leaves its lease; the raise waits for the next owner, who answers it."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("approval", "x")
    owner, other = nodes.owner_of("x"), nodes.other_than("x")
    await die(owner)
    nodes.hubs.remove(owner)
    raised = asyncio.create_task(other.client.raise_event("x", "Approval", 1))
    await nodes.settle()
    assert not raised.done()
    await nodes.advance(20)
    assert not (await raised).is_duplicate
    assert (await other.client.wait_for_completion("x")).output == [1, 1]
    assert len(nodes.owned(other)) == 8
    assert one is not two


async def test_a_node_that_was_away_too_long_cannot_write(nodes):
    """Its leases ran out and somebody has its partitions: what it does is refused, sent to the new owner, and done there once."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("approval", "x")
    owner, other = nodes.owner_of("x"), nodes.other_than("x")
    partition = partition_of("x", 8)
    nodes.cluster.leases[partition].expires_at = 0
    assert await other.store.claim([partition], 6_000_000) == {partition}
    await other.partition.take_over([partition])
    receipt = await asyncio.wait_for(owner.client.raise_event("x", "Approval", 2, event_id="e"), 5)
    assert not receipt.is_duplicate
    assert (await owner.client.wait_for_completion("x")).output == [2, 2]
    assert one is not two


async def test_a_lost_notice_delays_and_loses_nothing(nodes):
    """The next beat looks into the inbox."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("approval", "x")
    nodes.cluster.deafness = 1
    raised = asyncio.create_task(nodes.other_than("x").client.raise_event("x", "Approval", 1))
    await nodes.settle()
    assert not raised.done()
    await nodes.advance(5)
    await raised
    assert one is not two


async def test_a_node_for_activities_owns_nothing(nodes):
    """And one for orchestrations runs none of them."""
    thinker = await nodes.add(role=NodeRole.ORCHESTRATIONS)
    worker = await nodes.add(role=NodeRole.ACTIVITIES)
    assert (len(nodes.owned(thinker)), len(nodes.owned(worker))) == (8, 0)
    instance_id = await worker.client.start_new("approval", "x")
    await worker.client.raise_event(instance_id, "Approval", 3)
    status = await asyncio.wait_for(worker.client.wait_for_completion("x"), 5)
    assert status.output == [3, 3]
    assert not nodes.cluster.activities
