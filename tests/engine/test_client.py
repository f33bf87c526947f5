"""The client in process: what its verbs promise."""

import asyncio

import pytest

from bide import (
    App,
    HubBusyError,
    HubClosedError,
    InstanceEndedError,
    InstanceNotFoundError,
    InvalidInputError,
    StoreUnavailableError,
)
from bide import OrchestrationRuntimeStatus as Status
from bide.store import MemoryStore
from bide.testing import FaultyStore, Harness

app = App()


@app.orchestrator
def approval(context):
    return (yield context.wait_for_external_event("Approval"))


async def test_waiting_for_completion_tells_input_and_output():
    """The state that `wait_for_completion` returns is the one that `get_status` reads."""
    async with Harness(app) as harness:
        instance_id = await harness.client.start_new("approval", client_input={"permit": 17}, tags={"a": "b"})
        waiting = asyncio.ensure_future(harness.client.wait_for_completion(instance_id))
        await harness.client.raise_event(instance_id, "Approval", "yes")
        status = await waiting
        assert (status.runtime_status, status.input, status.output) == (Status.COMPLETED, {"permit": 17}, "yes")
        assert status == await harness.client.get_status(instance_id)


async def test_more_requests_than_may_wait_are_refused_and_the_others_lose_nothing():
    """A store that is slow: what was accepted is done, what was refused has left no trace."""
    store = FaultyStore(MemoryStore(), latency=50)
    async with Harness(app, store, max_backlog=20) as harness:
        starts = [asyncio.ensure_future(harness.client.start_new("approval", f"i{number}")) for number in range(500)]
        results = await asyncio.gather(*starts, return_exceptions=True)
        refused = {f"i{number}" for number, result in enumerate(results) if isinstance(result, HubBusyError)}
        accepted = {result for result in results if isinstance(result, str)}
        assert refused
        assert len(refused) + len(accepted) == 500
        await harness.run_until_idle()
        page = await harness.client.get_status_by(page_size=1000)
        assert {status.instance_id for status in page.items} == accepted


async def test_waiting_for_an_instance_that_ended_before_returns_at_once():
    """Also when a late event has brought the ended instance back into memory."""
    async with Harness(app) as harness:
        instance_id = await harness.client.start_new("approval")
        await harness.client.raise_event(instance_id, "Approval", 1)
        await harness.run_until_idle()
        with pytest.raises(InstanceEndedError):
            await harness.client.raise_event(instance_id, "Approval", 2)
        status = await harness.client.wait_for_completion(instance_id, timeout=5)
        assert status.output == 1


VERBS = [
    "terminate",
    "suspend",
    "resume",
    "rewind",
    "restart",
    "purge",
    "get_status",
    "get_history",
    "wait_for_completion",
]


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", "x" * 1001, 7, ["x"]])
async def test_text_that_cannot_be_stored_is_refused(text):
    """A store would cut an id off at a NUL, take two events for one, or fail with all that is asked at the same time."""
    async with Harness(app) as harness:
        client = harness.client
        instance_id = await client.start_new("approval")
        for verb in (
            client.raise_event(instance_id, "Approval", event_id=text),
            client.start_new("approval", version=text),
            client.start_new("approval", tags={"team": text}),
            client.start_new(text),
            client.raise_event(text, "Approval"),
            *(getattr(client, name)(text) for name in VERBS),
        ):
            with pytest.raises(InvalidInputError):
                await verb


async def test_a_hub_closes_although_its_store_fails():
    """Nobody hangs: neither `close` nor the callers; what was not stored is refused."""
    local, go_on = App(), asyncio.Event()

    @local.orchestrator
    def caller(context):
        yield context.call_activity(slow)

    @local.activity
    async def slow():
        await go_on.wait()

    store = FaultyStore(MemoryStore())
    harness = Harness(local, store)
    await harness.hub.start()
    client = harness.client
    await client.start_new("caller", "c")
    store.fail_next(1_000_000)
    with pytest.raises(StoreUnavailableError):
        await client.start_new("caller", "other")
    go_on.set()
    await asyncio.sleep(0)
    await asyncio.wait_for(harness.hub.close(), timeout=20)
    with pytest.raises(HubClosedError):
        await client.start_new("caller", "other")


async def test_a_hub_closes_although_its_instances_talk_for_ever():
    """What they have sent is stored, and delivered at the next start."""

    @(local := App()).orchestrator
    def player(context):
        yield context.wait_for_external_event("ball")
        context.send_event(context.get_input(), "ball")
        context.continue_as_new(context.get_input())

    harness = Harness(local)
    await harness.hub.start()
    for player_id, other in ("ab", "ba"):
        await harness.client.start_new("player", player_id, other)
    await harness.client.raise_event("a", "ball")
    await asyncio.wait_for(harness.hub.close(), timeout=20)
    assert await harness.store.inbox()


async def test_nobody_waits_for_an_instance_that_was_purged_or_for_a_hub_that_was_closed():
    async with Harness(app) as harness:
        for instance_id in ("purged", "left"):
            await harness.client.start_new("approval", instance_id)
        waiting = [asyncio.ensure_future(harness.client.wait_for_completion(each)) for each in ("purged", "left")]
        await harness.run_until_idle()
        await harness.client.purge("purged", force=True)
        with pytest.raises(InstanceNotFoundError):
            await waiting[0]
    with pytest.raises(HubClosedError):
        await waiting[1]


async def test_nobody_waits_for_an_instance_whose_start_was_not_stored():
    store = FaultyStore(MemoryStore(), latency=5)
    async with Harness(app, store) as harness:
        store.fail_next(1)
        start = asyncio.ensure_future(harness.client.start_new("approval", "a"))
        while harness.hub.partition.resident("a") is None:
            await asyncio.sleep(0)
        with pytest.raises(InstanceNotFoundError):
            await asyncio.wait_for(harness.client.wait_for_completion("a"), timeout=5)
        with pytest.raises(StoreUnavailableError):
            await start
