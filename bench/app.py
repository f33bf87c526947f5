"""The orchestrators that the workloads run."""

import time
from datetime import UTC, datetime

import bide

app = bide.App()


@app.activity
async def nothing(value):
    return value


@app.activity(process=True)
def nothing_elsewhere(value):
    return value


@app.activity
def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(100))


@app.activity(process=True)
def spin_elsewhere(seconds):
    spin(seconds)


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
def fan_out_elsewhere(context):
    tasks = [context.call_activity(nothing_elsewhere, n) for n in range(context.get_input())]
    return len((yield context.task_all(tasks)))


@app.orchestrator
def compute(context):
    """Compute without pause, by an activity of that name."""
    while True:
        yield context.call_activity(context.get_input(), 0.2)


@app.orchestrator
def consumer(context):
    for _ in range(context.get_input()):
        yield context.wait_for_external_event("e")


@app.orchestrator
def rounds(context):
    """Consume so many events, a hundred in each generation."""
    left = context.get_input()
    for _ in range(min(left, 100)):
        yield context.wait_for_external_event("e")
    if left > 100:
        context.continue_as_new(left - 100)


@app.orchestrator
def alarm(context):
    """Sleep until then (seconds since 1970); return how late it woke, in seconds."""
    due = datetime.fromtimestamp(context.get_input(), UTC)
    yield context.create_timer(due)
    return (context.current_utc_datetime - due).total_seconds()


@app.orchestrator
def blocking(context):
    """Compute for 100 ms in a turn, which an orchestrator should not."""
    while True:
        yield context.wait_for_external_event("e")
        spin(0.1)
