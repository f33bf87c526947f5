"""Random schedules of nodes that come, go, die, stall and fail, against what was accepted."""

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cluster.nodes import Nodes, die

import bide

app = bide.App()
INSTANCES = 4


@app.orchestrator
def collect(context):
    """Consume numbers until "stop"; each goes through an activity, and every fifth event the history begins anew."""
    seen = context.get_input() or []
    for _ in range(5):
        value = yield context.wait_for_external_event("n")
        if value == "stop":
            return seen
        seen.append((yield context.call_activity("echo", value)))
        context.signal_entity(bide.EntityId("tally", context.instance_id), "add", 1)
    context.continue_as_new(seen)
    return None


@app.activity
async def echo(value):
    await asyncio.sleep(0)
    return value


@app.entity
def tally(context):
    if context.operation_name == "add":
        context.set_state((context.get_state() or 0) + context.get_input())


ACTIONS = st.sampled_from(["add", "remove", "die", "stall", "fail", "lose", "deafen", "rest", "rest", "advance"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ACTIONS, max_size=25), st.integers(0, 2**32))
async def test_what_was_accepted_is_consumed_exactly_once_and_in_order(actions, seed):
    """Whatever happens to the nodes; also what the instances tell each other takes effect once."""
    await run(actions, random.Random(seed))


async def run(actions, rng):
    nodes = Nodes(app)
    try:
        await nodes.add()
        for number in range(INSTANCES):
            await nodes.hubs[0].client.start_new("collect", f"i{number}")
        is_over = asyncio.Event()
        raisers = [asyncio.create_task(raise_all(nodes, f"i{number}", rng, is_over)) for number in range(INSTANCES)]
        for action in actions:
            await ACTS[action](nodes, rng)
            for _ in range(rng.randrange(40)):
                await asyncio.sleep(0)
        is_over.set()
        accepted = [await patiently(nodes, raiser) for raiser in raisers]
        for number in range(INSTANCES):
            await patiently(nodes, asyncio.create_task(stop(nodes, f"i{number}", rng)))
        client = nodes.hubs[0].client
        for number, count in enumerate(accepted):
            status = await patiently(nodes, asyncio.create_task(client.wait_for_completion(f"i{number}")))
            assert status.output == list(range(count))
        await nodes.advance(10)
        for number, count in enumerate(accepted):
            entity = await client.get_entity(bide.EntityId("tally", f"i{number}"))
            assert (entity.state if entity else 0) == count
        assert not nodes.cluster.inbox
        assert not nodes.cluster.activities
    finally:
        for hub in nodes.hubs:
            await hub.close()


async def raise_all(nodes, instance_id, rng, is_over):
    """Raise 0, 1, 2 … one after the other at any node, each again until it is accepted; how many were."""
    number = 0
    while not is_over.is_set():
        await surely(nodes, rng, lambda client, n=number: client.raise_event(instance_id, "n", n, event_id=str(n)))
        number += 1
        for _ in range(rng.randrange(20)):
            await asyncio.sleep(0)
    return number


async def stop(nodes, instance_id, rng):
    await surely(nodes, rng, lambda client: client.raise_event(instance_id, "n", "stop", event_id="stop"))


async def surely(nodes, rng, ask):
    while True:
        hub = rng.choice(nodes.hubs)
        try:
            asked = asyncio.ensure_future(ask(hub.client))
            while not asked.done() and hub in nodes.hubs:
                await asyncio.sleep(0)
            if asked.done():
                return await asked
            asked.cancel()  # the node is gone, and its client with it
        except (bide.StoreError, bide.HubClosedError):
            await asyncio.sleep(0)


async def patiently(nodes, task):
    """Let time pass until the task is done."""
    for _ in range(200):
        await nodes.settle()
        if task.done():
            return await task
        await nodes.advance(3)
    task.cancel()
    pytest.fail("it waits for ever")


async def add(nodes, rng):
    if len(nodes.hubs) < 4:
        await nodes.start(max_resident=rng.choice([0, 2, 100]))


async def remove(nodes, rng):
    if len(nodes.hubs) > 1:
        hub = nodes.hubs.pop(rng.randrange(len(nodes.hubs)))
        await hub.close()


async def kill(nodes, rng):
    if len(nodes.hubs) > 1:
        hub = nodes.hubs.pop(rng.randrange(len(nodes.hubs)))
        await die(hub)


async def stall(nodes, rng):
    """Every lease runs out, and somebody takes what is free, while the others believe that they own it."""
    nodes.cluster.expire()
    rng.choice(nodes.hubs)._cluster.on_change()


async def fail(nodes, rng):
    rng.choice(nodes.hubs).store.fail_next(rng.randrange(1, 3))


async def lose(nodes, rng):
    rng.choice(nodes.hubs).store.lose_answers(rng.randrange(1, 3))


async def deafen(nodes, rng):
    nodes.cluster.deafness = rng.randrange(1, 5)


async def rest(nodes, rng):
    for _ in range(rng.randrange(200)):
        await asyncio.sleep(0)


async def advance(nodes, rng):
    nodes.clock.move_to(nodes.clock.now() + rng.randrange(8_000_000))


ACTS = {
    "add": add,
    "remove": remove,
    "die": kill,
    "stall": stall,
    "fail": fail,
    "lose": lose,
    "deafen": deafen,
    "rest": rest,
    "advance": advance,
}
