"""Times later than a datetime can say come at the last moment that it can."""

from datetime import UTC, datetime, timedelta

import pytest

from bide import App
from bide.testing import Harness

app = App()


@app.orchestrator
def approval(context):
    return (yield context.wait_for_external_event("Approval"))


@app.orchestrator
def signaling(context):
    context.signal_entity("@counter@a", "add", 1, scheduled_time=timedelta.max)
    yield context.wait_for_external_event("Approval")


@app.entity
def counter(context):
    context.set_state((context.get_state() or 0) + 1)


@pytest.mark.parametrize("span", [timedelta.max, timedelta(days=4_000_000)])
async def test_a_start_later_than_a_datetime_can_say(span):
    async with Harness(app) as harness:
        await harness.client.start_new("approval", "a", start_at=span)
        status = await harness.client.get_status("a")
        assert status.scheduled_start_time == datetime.max.replace(tzinfo=UTC)
        assert len((await harness.client.get_status_by()).items) == 1


@pytest.mark.parametrize("span", [timedelta.max, timedelta(days=4_000_000)])
async def test_a_signal_from_the_client_later_than_a_datetime_can_say(span):
    async with Harness(app) as harness:
        await harness.client.signal_entity("@counter@a", "add", scheduled_time=span)
        await harness.run_until_idle()
        assert await harness.client.get_entity("@counter@a") is not None
        await harness.client.list_entities()


async def test_a_signal_from_an_orchestration_later_than_a_datetime_can_say():
    async with Harness(app) as harness:
        await harness.client.start_new("signaling", "s")
        await harness.assert_waiting_for("s", "Approval")
        await harness.client.get_history("s")
