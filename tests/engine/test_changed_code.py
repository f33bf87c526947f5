"""Code that does something else when it runs again is reported, also when it is found by a result."""

from bide import App
from bide import OrchestrationRuntimeStatus as Status
from bide.testing import Harness


async def test_other_code_after_an_eviction_fails_the_run():
    app, runs = App(), []

    @app.activity
    async def act():
        return 1

    @app.activity
    async def act2():
        return 2

    @app.orchestrator
    def fickle(context):
        runs.append(1)
        yield context.call_activity(act if len(runs) == 1 else act2)

    async with Harness(app, max_resident=0) as harness:
        await harness.client.start_new("fickle", "x")
        await harness.run_until_idle()
        status = await harness.client.get_status("x")
    assert status.runtime_status is Status.FAILED
    assert "history holds activity 'act' (#0), the code asked for activity 'act2' (#0)" in status.output
