"""One approval: wait for one event, for as long as it takes."""

import bide

app = bide.App()


@app.orchestrator
def approval(context: bide.OrchestrationContext):
    approved = yield context.wait_for_external_event("Approval", bool)
    if approved:
        return (yield context.call_activity(process_order, context.get_input()))
    return "rejected"


@app.activity
def process_order(order: str) -> str:
    return f"order {order} processed"
