"""Those who wait for something in a cluster: all are told, whatever happens meanwhile, and nobody is remembered for ever."""

import asyncio

import pytest
from tests.cluster.nodes import Nodes, die

import bide
from bide.model.partitions import partition_of

app = bide.App()


@app.orchestrator
def approval(context):
    return (yield context.wait_for_external_event("Approval"))


@pytest.fixture
async def nodes():
    nodes = Nodes(app)
    yield nodes
    for hub in nodes.hubs:
        await hub.close()


async def test_a_hub_that_closes_when_a_lease_is_lost_answers_everybody(nodes, monkeypatch):
    """Also those whose request would have been tried again."""
    hub = await nodes.add()
    await hub.client.start_new("approval", "x")
    written = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(hub.store, "commit", lambda _: written, raising=False)
    asked = asyncio.create_task(hub.client.raise_event("x", "Approval"))
    partition = hub._partition
    while not partition._in_flight:
        await asyncio.sleep(0)
    closing = asyncio.create_task(hub.close())
    while not partition._is_closing:
        await asyncio.sleep(0)
    written.set_exception(bide.LeaseLostError("somebody else has it"))
    with pytest.raises(bide.HubClosedError):
        await asyncio.wait_for(asked, 5)
    await closing


def instance_at(nodes, hub):
    """Return an id of which this node is the owner."""
    return next(f"i{number}" for number in range(1000) if partition_of(f"i{number}", 8) in nodes.owned(hub))


async def test_an_instance_ends_and_comes_here_while_it_is_looked_up(nodes, monkeypatch):
    """What was read of it says that it runs, and nothing that happens here will say that it has ended."""
    one, two = await nodes.add(), await nodes.add()
    instance_id = instance_at(nodes, one)
    await one.client.start_new("approval", instance_id)
    has_looked, may_go_on = asyncio.Event(), asyncio.Event()
    get = two.store.get

    async def get_late(instance_id):
        found = await get(instance_id)
        has_looked.set()
        await may_go_on.wait()
        return found

    monkeypatch.setattr(two.store, "get", get_late, raising=False)
    end = asyncio.create_task(two.client.wait_for_completion(instance_id))
    await has_looked.wait()
    await one.client.raise_event(instance_id, "Approval", 1)
    await nodes.remove(one)
    may_go_on.set()
    await nodes.advance(60)
    assert (await asyncio.wait_for(end, 5)).output == 1


async def test_who_does_not_wait_any_more_is_forgotten(nodes):
    """Though the instance for whose end he waited lives on; a node must not grow with the requests it has had."""
    one, two = await nodes.add(), await nodes.add()
    instance_id = instance_at(nodes, one)
    await one.client.start_new("approval", instance_id)
    for _ in range(20):
        end = asyncio.create_task(two.client.wait_for_completion(instance_id))
        await nodes.settle()
        end.cancel()
        await nodes.advance(30)
    assert len(one._partition._completions.take_followers(instance_id)) <= 3


async def test_an_end_that_is_written_at_the_second_try_is_told_elsewhere(nodes):
    """At once: he who waits would look again by himself only much later."""
    one, two = await nodes.add(), await nodes.add()
    instance_id = instance_at(nodes, one)
    await one.client.start_new("approval", instance_id)
    end = asyncio.create_task(two.client.wait_for_completion(instance_id))
    await nodes.settle()
    one.store.fail_next(1)
    with pytest.raises(bide.StoreUnavailableError):
        await one.client.raise_event(instance_id, "Approval", 1, event_id="e")
    await one.client.raise_event(instance_id, "Approval", 1, event_id="e")
    await nodes.settle()
    assert (await asyncio.wait_for(end, 5)).output == 1


async def test_requests_to_a_node_that_does_not_answer_are_refused_when_there_are_too_many(nodes):
    """Those who only wait for an end do not count; and what was accepted is done when somebody owns the instance."""
    one, two = await nodes.add(), await nodes.add(max_backlog=20)
    instance_id = instance_at(nodes, one)
    await one.client.start_new("approval", instance_id)
    await nodes.settle()
    await die(nodes.hubs.pop(0))
    ends = [asyncio.create_task(two.client.wait_for_completion(instance_id)) for _ in range(30)]
    await nodes.settle()
    raises = []
    for number in range(60):
        raises.append(asyncio.create_task(two.client.raise_event(instance_id, "Approval", number)))
        await nodes.settle()
    refused = [each for each in raises if each.done() and isinstance(each.exception(), bide.HubBusyError)]
    assert len(refused) == 40
    await nodes.advance(15)
    assert (await asyncio.wait_for(asyncio.gather(*ends), 5))[0].output == 0
    await asyncio.wait_for(asyncio.gather(*raises, return_exceptions=True), 5)
    assert (await two.client.start_new("approval")) != instance_id


async def test_a_hub_closes_although_the_store_is_away(nodes, monkeypatch, caplog):
    """What it owned is free when its leases have run out, and it says so."""
    hub = await nodes.add()
    leave = hub.store.leave

    async def fail():
        monkeypatch.setattr(hub.store, "leave", leave, raising=False)
        raise bide.StoreUnavailableError("away")

    monkeypatch.setattr(hub.store, "leave", fail, raising=False)
    await nodes.remove(hub)
    assert "free when the leases have run out: away" in caplog.text
