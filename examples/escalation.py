"""An approval with a deadline: nobody answered for three days, so the manager is asked."""

from datetime import timedelta

import bide

app = bide.App()


@app.orchestrator
async def expense(context: bide.OrchestrationContext) -> str:
    await context.call_activity(ask, "approver")
    try:
        approved = await context.wait_for_external_event("Approval", bool, timeout=timedelta(days=3))
    except TimeoutError:
        await context.call_activity(ask, "manager")
        approved = await context.wait_for_external_event("Approval", bool, timeout=timedelta(days=3), default=False)
    return "approved" if approved else "rejected"


@app.activity
def ask(whom: str) -> None:
    print("asking", whom)
