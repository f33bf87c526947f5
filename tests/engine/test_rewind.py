"""Rewind: whatever has become of what failed, the instance goes on; resident and replayed instances alike."""

import asyncio
from datetime import timedelta

import pytest

import bide
from bide import App, RetryOptions
from bide import OrchestrationRuntimeStatus as Status
from bide.testing import Harness


async def ended(harness: Harness, instance_id: str) -> bide.OrchestrationStatus:
    await harness.run_until_idle()
    status = await harness.client.get_status(instance_id)
    assert status.runtime_status.is_ended, status
    return status


def child(context):
    return (yield context.wait_for_external_event("Answer"))


@pytest.mark.parametrize("fate", ["terminated", "purged", "unknown"])
async def test_a_child_that_cannot_go_on_is_started_anew(open_harness, fate):
    """`unknown`: its code was not registered yet. The parent waited for ever."""

    @(app := App()).orchestrator
    def parent(context):
        return (yield context.call_sub_orchestrator("child", None, "the-child"))

    async with open_harness(app) as harness:
        if fate != "unknown":
            app.orchestrator(child)
        await harness.client.start_new("parent", "p")
        await harness.run_until_idle()
        if fate != "unknown":
            await harness.client.terminate("the-child")
        if fate == "purged":
            await harness.client.purge("the-child")
        assert (await ended(harness, "p")).runtime_status is Status.FAILED
        if fate == "unknown":
            app.orchestrator(child)
        await harness.client.rewind("p")
        await harness.assert_waiting_for("the-child", "Answer")
        await harness.client.raise_event("the-child", "Answer", 1)
        assert (await ended(harness, "p")).output == 1


def flaky() -> tuple[App, list[bool]]:
    """An app with an activity that fails while the list holds something."""
    app, is_down = App(), [True]

    @app.activity
    async def step():
        if is_down:
            raise OSError("down")
        return "up"

    return app, is_down


async def test_a_child_that_ended_meanwhile_tells_its_result_again(open_harness):
    """It was run once more, and asked for its event a second time."""
    app, is_down = flaky()
    app.orchestrator(child)

    @app.orchestrator
    def parent(context):
        both = [context.call_sub_orchestrator("child", None, "the-child"), context.call_activity("step")]
        return (yield context.task_all(both))

    async with open_harness(app) as harness:
        await harness.client.start_new("parent", "p")
        await harness.run_until_idle()
        await harness.client.raise_event("the-child", "Answer", 1)
        assert (await ended(harness, "p")).runtime_status is Status.FAILED
        is_down.clear()
        await harness.client.rewind("p")
        assert (await ended(harness, "p")).output == [1, "up"]


async def test_retries_are_tried_anew(open_harness):
    """The last attempt is made again."""
    app, is_down = flaky()

    @app.orchestrator
    def stubborn(context):
        return (yield context.call_activity("step", retry=RetryOptions(timedelta(seconds=1), 2)))

    async with open_harness(app) as harness:
        await harness.client.start_new("stubborn", "s")
        await harness.advance(5)
        assert (await ended(harness, "s")).runtime_status is Status.FAILED
        is_down.clear()
        await harness.client.rewind("s")
        assert (await ended(harness, "s")).output == "up"


async def test_a_failure_that_the_code_went_on_after_is_not_taken_back(open_harness):
    """It has been made up for: the code fails again, as it did, and is not called non-deterministic."""
    app, is_down = flaky()

    @app.orchestrator
    def saga(context):
        try:
            yield context.call_activity("step")
        except bide.TaskFailedError:
            yield context.create_timer(timedelta(seconds=1))
            raise

    async with open_harness(app) as harness:
        await harness.client.start_new("saga", "s")
        await harness.advance(5)
        failure = (await ended(harness, "s")).failure
        is_down.clear()
        await harness.client.rewind("s")
        assert (await ended(harness, "s")).failure == failure


async def test_rewind_knows_what_made_it_fail_a_moment_ago(open_harness):
    """In the same pass: it was rewound with a history that did not hold the event yet, and asked for it again."""
    app, bugs = App(), [1]

    @app.orchestrator
    def buggy(context):
        value = yield context.wait_for_external_event("A")
        if bugs:
            bugs.pop()
            raise KeyError("typo")
        return value

    async with open_harness(app) as harness:
        await harness.client.start_new("buggy", "b")
        await asyncio.gather(harness.client.raise_event("b", "A", 1), harness.client.rewind("b"))
        assert (await ended(harness, "b")).output == 1
