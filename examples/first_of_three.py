"""The first of three events decides."""

import bide

app = bide.App()


@app.orchestrator
def select(context: bide.OrchestrationContext):
    tasks = {name: context.wait_for_external_event(name) for name in ("Event1", "Event2", "Event3")}
    winner = yield context.task_any(tasks.values())
    return next(name for name, task in tasks.items() if task == winner)
