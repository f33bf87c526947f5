"""Random schedules of nodes that come, go, die, stall and fail, against all that instances can do and can be told."""

import asyncio
import contextlib
import random
from datetime import timedelta
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cluster.nodes import Nodes
from tests.cluster.test_promises import ACTS as FAILURES
from tests.cluster.test_promises import patiently, surely

import bide
from bide import EntityId
from bide import OrchestrationRuntimeStatus as Status

app = bide.App()
ACCOUNTS = [EntityId("account", key) for key in "abc"]
repaired = set[str]()


@app.activity(max_concurrent=2)
async def echo(value):
    await asyncio.sleep(0)
    return value


@app.activity
async def work(instance_id):
    await asyncio.sleep(0)
    if instance_id not in repaired:
        raise OSError("down")
    return "up"


@app.entity
def account(context):
    if context.operation_name == "add":
        context.set_state((context.get_state() or 0) + context.get_input())
    return context.get_state() or 0


@app.orchestrator
def transfer(context):
    """Move money under a lock, in steps that others must not see."""
    source, target = context.get_input()
    with (yield context.lock_entities([source, target])):
        before = yield context.call_entity(source, "get")
        yield context.call_entity(source, "add", -1)
        yield context.create_timer(timedelta(seconds=1))
        after = yield context.call_entity(source, "get")
        yield context.call_entity(target, "add", 1)
    return before - after


@app.orchestrator
def family(context):
    names = [f"{context.instance_id}.{number}" for number in range(3)]
    return (yield context.task_all([context.call_sub_orchestrator("child", None, name) for name in names]))


@app.orchestrator
def child(context):
    """Wait for an answer, and meanwhile for time to pass."""
    answer = context.wait_for_external_event("Answer")
    rounds = 0
    while (yield context.task_any([answer, context.create_timer(timedelta(seconds=2))])) is not answer:
        rounds = yield context.call_activity("echo", rounds + 1)
    return answer.result


@app.orchestrator
def broken(context):
    names = [f"{context.instance_id}.{number}" for number in range(2)]
    return (yield context.task_all([context.call_sub_orchestrator("works", None, name) for name in names]))


@app.orchestrator
def works(context):
    yield context.create_timer(timedelta(seconds=1))
    return (yield context.call_activity("work", context.instance_id))


READS = ["load", "inbox", "active", "due", "turns", "seen_event_ids", "beat", "claim", "release", "claim_activities"]
ACTS = {**FAILURES, "blind": lambda nodes, rng: blind(rng.choice(nodes.hubs).store, rng)}
ACTIONS = st.sampled_from([*ACTS, "rest"])


async def blind(store, rng):
    """Let the next use of some verb fail."""
    verb = rng.choice(READS)
    read = getattr(store, verb)

    async def fail(*values, **named):
        setattr(store, verb, read)
        await asyncio.sleep(0)
        raise bide.StoreUnavailableError("The test wants this to fail.")

    setattr(store, verb, fail)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ACTIONS, max_size=25), st.integers(0, 2**32))
async def test_stories_end_as_they_would_on_one_node(actions, seed):
    """Whatever happens to the nodes: locks, timers, children, suspension, rewinding, termination, removal."""
    await run(actions, random.Random(seed))


@patch("bide.runtime.partition._LONGEST_PAUSE", 0)
async def run(actions, rng):
    repaired.clear()
    nodes = Nodes(app)
    try:
        await nodes.add()
        told = [asyncio.create_task(story(nodes, rng, str(number))) for number, story in enumerate(STORIES)]
        for action in actions:
            await ACTS[action](nodes, rng)
            for _ in range(rng.randrange(60)):
                await asyncio.sleep(0)
        for story in told:
            await patiently(nodes, story)
        await nodes.advance(10)
        states = [await nodes.hubs[0].client.get_entity(each) for each in ACCOUNTS]
        assert sum(state.state or 0 for state in states if state is not None) == 0
        assert not [state for state in states if state is not None and (state.locked_by or state.backlog)]
        assert not nodes.cluster.inbox
        assert (await nodes.hubs[0].client.nodes()).offered == 0
    finally:
        for hub in nodes.hubs:
            await hub.close()


async def start(nodes, rng, name, instance_id, value=None):
    keep = bide.IdReusePolicy.KEEP
    await surely(nodes, rng, lambda client: client.start_new(name, instance_id, value, id_reuse=keep))


async def end_of(nodes, rng, instance_id):
    return await surely(nodes, rng, lambda client: client.wait_for_completion(instance_id))


async def gently(nodes, rng, ask):
    """What is no error the second time: the answer to the first may have been lost."""
    with contextlib.suppress(bide.InstanceError):
        await surely(nodes, rng, ask)


async def money_moves(nodes, rng, number):
    names = [f"t{number}-{each}" for each in range(4)]
    for name in names:
        await start(nodes, rng, "transfer", name, [str(each) for each in rng.sample(ACCOUNTS, 2)])
    for name in names:
        status = await end_of(nodes, rng, name)
        assert (status.runtime_status, status.output) == (Status.COMPLETED, 1), status


async def children_answer(nodes, rng, number):
    name = f"f{number}"
    await start(nodes, rng, "family", name)
    end = asyncio.create_task(end_of(nodes, rng, name))
    for each in range(3):
        child_id = f"{name}.{each}"
        await raise_when_there(nodes, rng, child_id, each)
    status = await end
    assert (status.runtime_status, status.output) == (Status.COMPLETED, [0, 1, 2]), status


async def raise_when_there(nodes, rng, instance_id, value):
    while True:
        try:
            await surely(nodes, rng, lambda client: client.raise_event(instance_id, "Answer", value, event_id="e"))
        except bide.InstanceNotFoundError:
            await asyncio.sleep(0)
        else:
            return


async def one_is_suspended(nodes, rng, number):
    name = f"s{number}"
    await start(nodes, rng, "child", name)
    for _ in range(rng.randrange(4)):
        await surely(nodes, rng, lambda client: client.suspend(name))
        await surely(nodes, rng, lambda client: client.resume(name))
    await surely(nodes, rng, lambda client: client.suspend(name))
    await raise_when_there(nodes, rng, name, 7)
    for _ in range(rng.randrange(50)):
        await asyncio.sleep(0)
    await gently(nodes, rng, lambda client: client.resume(name))
    status = await end_of(nodes, rng, name)
    assert (status.runtime_status, status.output) == (Status.COMPLETED, 7), status


async def a_family_is_ended(nodes, rng, number):
    name = f"k{number}"
    await start(nodes, rng, "family", name)
    waits = [asyncio.create_task(end_of(nodes, rng, name)) for _ in range(2)]
    for _ in range(rng.randrange(50)):
        await asyncio.sleep(0)
    await gently(nodes, rng, lambda client: client.terminate(name, "enough", recursive=True))
    for each in waits:
        assert (await each).runtime_status is Status.TERMINATED
    for each in range(3):
        child_id = f"{name}.{each}"
        try:
            status = await end_of(nodes, rng, child_id)
        except bide.InstanceNotFoundError:
            continue  # not started yet when its parent ended
        assert status.runtime_status is Status.TERMINATED, status
    await gently(nodes, rng, lambda client: client.purge(name, recursive=True))
    page = await surely(nodes, rng, lambda client: client.get_status_by(instance_id_prefix=name))
    assert {each.instance_id for each in page.items} <= {f"{name}.{each}" for each in range(3)}
    for left in page.items:  # the answer to the purge may have been lost after the parent had gone
        await gently(nodes, rng, lambda client, each=left: client.purge(each.instance_id, force=True))


async def what_failed_is_rewound(nodes, rng, number):
    name = f"b{number}"
    await start(nodes, rng, "broken", name)
    status = await end_of(nodes, rng, name)
    assert status.runtime_status is Status.FAILED, status
    repaired.update(f"{name}.{each}" for each in range(2))
    while status.runtime_status is Status.FAILED:
        await gently(nodes, rng, lambda client: client.rewind(name))
        status = await end_of(nodes, rng, name)
    assert (status.runtime_status, status.output) == (Status.COMPLETED, ["up", "up"]), status


async def an_id_is_used_again(nodes, rng, number):
    name = f"r{number}"
    policies = [bide.IdReusePolicy.REPLACE_ANY, bide.IdReusePolicy.REPLACE_ENDED, bide.IdReusePolicy.REJECT]
    await start(nodes, rng, "child", name, 0)
    for value in range(1, 6):
        policy = rng.choice(policies)
        with contextlib.suppress(bide.InstanceExistsError):
            await surely(nodes, rng, lambda client, p=policy, v=value: client.start_new("child", name, v, id_reuse=p))
        if rng.random() < 0.3:
            await gently(nodes, rng, lambda client: client.terminate(name))
    await gently(nodes, rng, lambda client: client.purge(name, force=True))
    await start(nodes, rng, "child", name, 9)
    end = asyncio.create_task(end_of(nodes, rng, name))
    for _ in range(3):  # another may have taken its place, or ended it: by a request whose answer was lost
        await gently(nodes, rng, lambda client: client.raise_event(name, "Answer", 3))
    end.cancel()
    await asyncio.gather(end, return_exceptions=True)


STORIES = [
    money_moves,
    children_answer,
    one_is_suspended,
    a_family_is_ended,
    what_failed_is_rewound,
    an_id_is_used_again,
]
