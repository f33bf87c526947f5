"""The client in process: what its verbs promise."""

import asyncio

import pytest

from bide import App, InstanceEndedError, InvalidInputError
from bide import OrchestrationRuntimeStatus as Status
from bide.testing import Harness

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


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", "x" * 1001, 7])
async def test_text_that_cannot_be_stored_is_refused(text):
    """A store would cut an id off at a NUL, and take two events for one."""
    async with Harness(app) as harness:
        instance_id = await harness.client.start_new("approval")
        for verb in (
            harness.client.raise_event(instance_id, "Approval", event_id=text),
            harness.client.start_new("approval", version=text),
            harness.client.start_new("approval", tags={"team": text}),
            harness.client.start_new(text),
        ):
            with pytest.raises(InvalidInputError):
                await verb
