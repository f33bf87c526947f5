"""Several hubs on one store: who handles what, and how the others reach it."""

import asyncio

import pytest
from tests.cluster.nodes import Nobody, Nodes, die

import bide
from bide.model.nodes import NodeLoad, NodeRole
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


@app.orchestrator
def mother(context):
    return (yield context.call_sub_orchestrator("approval", instance_id=context.get_input()))


@app.orchestrator
def relay(context):
    target = context.get_input()
    context.send_event(target, "n", 0)
    yield context.wait_for_external_event("Go")
    context.send_event(target, "n", 1)


@app.orchestrator
def collect(context):
    return [(yield context.wait_for_external_event("n")), (yield context.wait_for_external_event("n"))]


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
            assert unknown.value.known == tuple(sorted(app.orchestrators))
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


async def test_what_one_instance_sends_another_stays_in_order_when_it_moves(nodes):
    """From one node to another, while what it had sent before still waits for an owner of the receiver."""
    one, two, three = await nodes.add(), await nodes.add(), await nodes.add()
    relay, target = (next(f"i{n}" for n in range(100) if nodes.owner_of(f"i{n}") is owner) for owner in (two, three))
    await one.client.start_new("collect", target)
    await die(three)
    nodes.hubs.remove(three)
    await two.client.start_new("relay", relay, target)
    await nodes.remove(two)
    await one.client.raise_event(relay, "Go")
    await nodes.settle()
    assert len(nodes.cluster.inbox) == 2
    await nodes.advance(20)
    assert (await one.client.wait_for_completion(target)).output == [0, 1]


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


async def test_a_partition_is_lost_before_the_node_has_taken_notice(nodes):
    """A child that was to begin there begins at its new owner, and whoever starts an instance there hears no error."""
    one, two = await nodes.add(), await nodes.add()
    mine = [f"i{n}" for n in range(100) if nodes.owner_of(f"i{n}") is one]
    mother, child = mine[0], next(each for each in mine if partition_of(each, 8) != partition_of(mine[0], 8))
    nodes.cluster.leases[partition_of(child, 8)].expires_at = 0
    assert await two.store.claim([partition_of(child, 8)], 6_000_000)
    await two.partition.take_over([partition_of(child, 8)])
    await one.store.beat(6_000_000, NodeLoad())  # the store knows it now, and the loop does not
    await one.client.start_new("mother", mother, child)
    await nodes.settle()
    await two.client.raise_event(child, "Approval", 1)
    assert (await asyncio.wait_for(one.client.wait_for_completion(mother), 5)).output == [1, 1]


async def test_a_node_that_could_not_start_may_try_again(nodes, monkeypatch):
    """When the store has failed before the node had its share; nothing of the first try is left."""
    await nodes.add()
    hub = bide.Hub(app, nodes.cluster.node(), clock=nodes.clock)
    working = hub.store.beat

    async def fail_once(*_):
        monkeypatch.setattr(hub.store, "beat", working)
        raise bide.StoreUnavailableError("The test wants this to fail.")

    monkeypatch.setattr(hub.store, "beat", fail_once)
    before = asyncio.all_tasks()
    with pytest.raises(bide.StoreUnavailableError):
        await hub.start()
    assert asyncio.all_tasks() == before
    await hub.start()
    nodes.hubs.append(hub)
    await nodes.settle()
    assert len(nodes.owned(hub)) == 4


async def test_an_answer_that_was_missed_is_not_waited_for(nodes):
    """The connection on which a node listens was lost: its callers may repeat their requests at once."""
    one, two = await nodes.add(), await nodes.add()
    await one.client.start_new("approval", "x")
    other = nodes.other_than("x")
    raised = asyncio.create_task(other.client.raise_event("x", "Approval", 1, event_id="e"))
    while not nodes.cluster.inbox:
        await asyncio.sleep(0)
    owner, nodes.cluster.members[other.store._number].listener = nodes.owner_of("x"), Nobody()
    await nodes.settle()
    assert not raised.done()
    nodes.cluster.members[other.store._number].listener = other._cluster
    other._cluster.on_gap()
    with pytest.raises(bide.StoreUnavailableError, match="repeat it"):
        await raised
    assert (await other.client.raise_event("x", "Approval", 1, event_id="e")).is_duplicate
    assert (await owner.client.wait_for_completion("x")).output == [1, 1]
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


async def test_a_node_outlives_a_fault_of_its_own(nodes, monkeypatch, caplog):
    """Whatever a beat, or a hand-over, stumbles upon is logged, and the next one goes on."""
    one = await nodes.add()
    with monkeypatch.context() as fault:
        fault.setattr(one.store, "beat", _broken)
        await nodes.advance(4)
    monkeypatch.setattr(one._cluster._offers, "hold", _broken)
    two = await nodes.add()
    await nodes.advance(4)
    monkeypatch.undo()
    await nodes.advance(12)
    assert sorted(len(nodes.owned(hub)) for hub in (one, two)) == [4, 4]
    assert await two.client.start_new("approval", "x") == "x"
    assert caplog.text.count("please report this") >= 2


async def _broken(*_):
    raise RuntimeError("a fault")
