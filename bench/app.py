"""The orchestrators that the workloads run."""

import bide

app = bide.App()


@app.activity
async def nothing(value):
    return value


@app.orchestrator
def approval(context):
    approved = yield context.wait_for_external_event("Approval")
    return (yield context.call_activity(nothing, approved))


@app.orchestrator
def chain(context):
    for number in range(context.get_input()):
        yield context.call_activity(nothing, number)


@app.orchestrator
def fan_out(context):
    return len((yield context.task_all([context.call_activity(nothing, n) for n in range(context.get_input())])))


@app.orchestrator
def consumer(context):
    for _ in range(context.get_input()):
        yield context.wait_for_external_event("e")
