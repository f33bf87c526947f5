"""What an instance leaves behind that is replaced, purged or terminated: its events, and a parent that waits for it."""

import pytest

import bide
from bide import App, IdReusePolicy
from bide.testing import Harness

app = App()


@app.orchestrator
def order(context):
    yield context.wait_for_external_event("Go")
    raise ValueError("no")


@app.orchestrator
def parent(context):
    try:
        yield context.call_sub_orchestrator("order", None, "the-child")
    except bide.TaskFailedError as error:
        return error.error_type


async def replace(harness: Harness, instance_id: str) -> None:
    await harness.client.start_new("order", instance_id, id_reuse=IdReusePolicy.REPLACE_ANY)


async def purge(harness: Harness, instance_id: str) -> None:
    await harness.client.purge(instance_id, force=True)


@pytest.mark.parametrize("state", ["running", "suspended", "failed"])
@pytest.mark.parametrize("remove", [replace, purge])
async def test_events_that_nobody_consumed_become_dead_letters(open_harness, state, remove):
    """Each once; they were gone without a trace."""
    async with open_harness(app) as harness:
        await harness.client.start_new("order", "o")
        await harness.client.raise_event("o", "Paid", 1)
        if state == "suspended":
            await harness.client.suspend("o")
        await harness.client.raise_event("o", "Paid", 2)
        if state == "failed":
            await harness.client.raise_event("o", "Go")
            await harness.run_until_idle()
        await remove(harness, "o")
        letters = (await harness.client.dead_letters()).items
        assert sorted((letter.data, letter.reason) for letter in letters) == [(1, "discarded"), (2, "discarded")]


async def test_events_held_by_a_suspension_end_with_the_instance(open_harness):
    """They are dead letters, and no longer counted as waiting."""
    async with open_harness(app) as harness:
        await harness.client.start_new("order", "o")
        await harness.client.suspend("o")
        await harness.client.raise_event("o", "Paid", 1)
        await harness.client.terminate("o")
        assert (await harness.client.get_status("o")).buffered == {}
        [letter] = (await harness.client.dead_letters()).items
        assert (letter.data, letter.reason) == (1, "unconsumed")


@pytest.mark.parametrize("remove", [replace, purge])
async def test_the_parent_is_told(open_harness, remove):
    """It waited for ever."""
    async with open_harness(app) as harness:
        await harness.client.start_new("parent", "p")
        await harness.run_until_idle()
        await remove(harness, "the-child")
        await harness.run_until_idle()
        assert (await harness.client.get_status("p")).output == "InstanceRemovedError"


async def test_a_family_larger_than_the_backlog_is_removed_as_a_whole(monkeypatch):
    """In parts; and a purge that was broken off can be repeated."""
    app = App()

    @app.orchestrator
    def family(context):
        sizes = context.get_input()
        if sizes:
            yield context.task_all([context.call_sub_orchestrator("family", sizes[1:]) for _ in range(sizes[0])])

    async with Harness(app, max_backlog=20) as harness:
        await harness.client.start_new("family", "f", [3, 10])
        await harness.run_until_idle()
        with pytest.raises(bide.HubBusyError):
            await harness.client.purge("f", recursive=True)
        monkeypatch.setattr("bide.runtime.local._PURGED_AT_A_TIME", 10)
        assert await harness.client.purge("f", recursive=True) == 13
        assert not (await harness.client.get_status_by()).items
        with pytest.raises(bide.InstanceNotFoundError):
            await harness.client.purge("f", recursive=True)
