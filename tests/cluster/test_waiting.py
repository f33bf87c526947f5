"""Those who wait for something in a cluster: all are told, whatever happens meanwhile, and nobody is remembered for ever."""

import asyncio

import pytest
from tests.cluster.nodes import Nodes

import bide

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
