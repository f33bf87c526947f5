"""An event loop: one instance lives for ever, its history does not grow."""

import bide

app = bide.App()


@app.orchestrator
def counter(context: bide.OrchestrationContext):
    total = context.get_input() or 0
    context.set_custom_status({"total": total})
    amount = yield context.wait_for_external_event("Add", int)
    if amount == 0:
        return total
    context.continue_as_new(total + amount)
    return None
