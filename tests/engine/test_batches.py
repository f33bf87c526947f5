"""What is decided while earlier batches are still being written."""

import asyncio
from datetime import timedelta

import pytest

from bide import App, IdReusePolicy, InstanceNotFoundError, RaisedEvent, StoreCorruptError, StoreUnavailableError
from bide import OrchestrationRuntimeStatus as Status
from bide.core.instance import Instance
from bide.store import MemoryStore
from bide.testing import FaultyStore, Harness

app = App()


@app.orchestrator
def approval(context):
    return (yield context.wait_for_external_event("Approval"))


@app.orchestrator
def renewed(context):
    yield context.wait_for_external_event("Again")
    context.continue_as_new()


async def test_a_duplicate_is_answered_when_the_first_one_is_stored():
    """It was answered at once: then the first one's commit failed, and both callers believed it was stored."""
    store = FaultyStore(MemoryStore(), latency=20)
    async with Harness(app, store) as harness:
        await harness.client.start_new("approval", "a")
        store.fail_next(1)
        first = asyncio.ensure_future(harness.client.raise_event("a", "Approval", 1, event_id="e"))
        for _ in range(5):
            await asyncio.sleep(0)
        second = asyncio.ensure_future(harness.client.raise_event("a", "Approval", 1, event_id="e"))
        for call in (first, second):
            with pytest.raises(StoreUnavailableError):
                await call
        assert not (await harness.client.raise_event("a", "Approval", 1, event_id="e")).is_duplicate


async def test_an_event_id_is_new_to_the_instance_that_replaces_another():
    """Replaced in the same pass: the event was taken for a duplicate of the old instance's, and lost."""
    async with Harness(app) as harness:
        await harness.client.start_new("approval", "a")
        await harness.client.raise_event("a", "Other", 1, event_id="e")
        harness.hub.partition.evict("a")
        _, receipt = await asyncio.gather(
            harness.client.start_new("approval", "a", id_reuse=IdReusePolicy.REPLACE_ANY),
            harness.client.raise_event("a", "Approval", 2, event_id="e"),
        )
        assert not receipt.is_duplicate
        assert (await harness.client.wait_for_completion("a", timeout=5)).output == 2


async def test_a_purged_instance_does_not_come_back():
    """Its own message to itself was under way: it was read once more from the store, which had not removed it yet."""
    async with Harness(app, FaultyStore(MemoryStore(), latency=5)) as harness:
        await harness.client.start_new("renewed", "r")
        await asyncio.gather(harness.client.raise_event("r", "Again"), harness.client.purge("r", force=True))
        with pytest.raises(InstanceNotFoundError):
            await harness.client.raise_event("r", "Again")


async def test_a_generation_that_is_to_begin_later_does_not_begin_now():
    """Replaced in the pass in which it continued as new: that one's first turn was run on the instance that replaced it."""
    async with Harness(app) as harness:
        await harness.client.start_new("renewed", "r")
        await asyncio.gather(
            harness.client.raise_event("r", "Again"),
            harness.client.start_new("approval", "r", start_at=timedelta(hours=1), id_reuse=IdReusePolicy.REPLACE_ANY),
        )
        status = await harness.client.get_status("r")
        assert (status.runtime_status, status.waits) == (Status.PENDING, ())


async def test_an_instance_at_which_the_engine_fails_is_set_aside(monkeypatch):
    """It costs the others one pass, which they may repeat; then it can only be purged."""

    def fail(instance, message):
        if message.instance_id == "bad":
            raise ZeroDivisionError
        return take_in(instance, message)

    take_in = Instance.raise_event
    monkeypatch.setattr(Instance, "raise_event", fail)
    async with Harness(app) as harness:
        for instance_id in ("bad", "good"):
            await harness.client.start_new("approval", instance_id)
        for kinds in ([StoreUnavailableError, StoreUnavailableError], [StoreCorruptError, RaisedEvent]):
            calls = [harness.client.raise_event(instance_id, "Approval", 1) for instance_id in ("bad", "good")]
            assert [type(each) for each in await asyncio.gather(*calls, return_exceptions=True)] == kinds
        assert (await harness.client.wait_for_completion("good", timeout=5)).output == 1
        assert await harness.client.purge("bad", force=True) == 1
