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
