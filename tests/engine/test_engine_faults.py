"""Faults of the engine's own: they are told, and the loop goes on."""

import bide
from bide.testing import Harness

app = bide.App()


@app.orchestrator
def approval(context):
    return (yield context.wait_for_external_event("Approval"))


async def test_the_loop_outlives_a_fault(monkeypatch, caplog):
    """It begins again from what is stored, and requests that wait are answered then."""
    async with Harness(app) as harness:
        await harness.client.start_new("approval", "x")
        partition = harness.hub.partition
        run_pass = partition._run_pass

        async def broken():
            monkeypatch.setattr(partition, "_run_pass", run_pass)
            raise RuntimeError("a fault")

        monkeypatch.setattr(partition, "_run_pass", broken)
        await harness.client.raise_event("x", "Approval", 1)
        assert (await harness.client.wait_for_completion("x")).output == 1
    assert "please report this" in caplog.text
