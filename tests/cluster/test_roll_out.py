"""Old and new code side by side: what one node cannot run stands still there, and only there."""

from datetime import timedelta

import pytest
from tests.cluster.nodes import Nodes

import bide
from bide import OrchestrationRuntimeStatus as Status
from bide.model.partitions import partition_of


def nap(context):
    yield context.create_timer(timedelta(seconds=10))


def snooze(context):
    yield context.create_timer(timedelta(seconds=10))
    yield context.wait_for_external_event("Up")


def app_of(*orchestrators):
    app = bide.App()
    for each in orchestrators:
        app.orchestrator(each)
    return app


@pytest.fixture
async def nodes():
    nodes = Nodes(app_of(nap))
    yield nodes
    for hub in nodes.hubs:
        await hub.close()


async def test_timers_ring_for_who_has_the_id_next(nodes):
    """Though a node has left alone the timers of the one before, whose code it does not have."""
    await nodes.add()
    nodes.app = app_of(nap, snooze)
    new = await nodes.add()
    instance_id = next(f"i{n}" for n in range(100) if partition_of(f"i{n}", 8) in nodes.owned(new))
    await new.client.start_new("snooze", instance_id)
    await nodes.remove(new)
    await nodes.advance(20)
    new = await nodes.add()
    await nodes.advance(1)
    await new.client.raise_event(instance_id, "Up")
    await new.client.start_new("nap", instance_id)
    await nodes.remove(new)
    await nodes.advance(20)
    assert (await nodes.hubs[0].client.get_status(instance_id)).runtime_status is Status.COMPLETED


def answer(context):
    return (yield context.wait_for_external_event("Up"))


async def stranded(nodes):
    """Two nodes without the code of an instance, and its id."""
    nodes.app = app_of(nap, answer)
    await nodes.add()
    await nodes.add()
    nodes.app = app_of(nap, answer, snooze)
    new = await nodes.add()
    instance_id = next(f"i{n}" for n in range(100) if partition_of(f"i{n}", 8) in nodes.owned(new))
    await new.client.start_new("snooze", instance_id)
    await nodes.remove(new)
    nodes.app = app_of(nap, answer)
    return instance_id


async def test_an_event_that_was_kept_is_not_for_who_has_the_id_next(nodes):
    """Whichever node took it: it is dead, with the reason, as it would be on one node."""
    instance_id = await stranded(nodes)
    for number, hub in enumerate((nodes.owner_of(instance_id), nodes.other_than(instance_id))):
        await hub.client.raise_event(instance_id, "Up", number)
    client = nodes.hubs[0].client
    await client.purge(instance_id, force=True)
    await client.start_new("answer", instance_id)
    await nodes.remove(nodes.owner_of(instance_id))
    await nodes.advance(1)
    letters = (await nodes.hubs[0].client.dead_letters()).items
    assert sorted(letter.data for letter in letters) == [0, 1]
    assert {letter.reason.value for letter in letters} == {"discarded"}
    assert [wait.name for wait in (await nodes.hubs[0].client.get_status(instance_id)).waits] == ["Up"]


async def test_every_node_says_that_a_history_cannot_be_read(nodes):
    """Not only the owner: an event that another node accepted would wait for nothing."""
    one, two = await nodes.add(), await nodes.add()
    instance_id = next(f"i{n}" for n in range(100) if partition_of(f"i{n}", 8) in nodes.owned(one))
    await one.client.start_new("nap", instance_id)
    await nodes.settle()
    one._partition.evict(instance_id)
    store = nodes.cluster.store
    [iid] = store._rows
    store._turns[iid] = [turn.__class__(turn.seq, turn.at, b"\xc1") for turn in store._turns[iid]]
    for hub in (one, two):
        with pytest.raises(bide.StoreCorruptError, match="cannot be read"):
            await hub.client.raise_event(instance_id, "Up")
    assert not nodes.cluster.inbox


async def test_what_a_node_has_kept_is_not_known_to_it_when_it_has_gone(nodes):
    """A node must not grow with what it has left to others."""
    instance_id = await stranded(nodes)
    owner = nodes.owner_of(instance_id)
    for number in range(20):
        await owner.client.raise_event(instance_id, "Up", number)
    assert len(owner._partition.inbox._known) == 20
    await owner._partition.hand_over(nodes.owned(owner))
    assert not owner._partition.inbox._known
