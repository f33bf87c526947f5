"""The orchestrations and entities under torture. What they return says what they consumed and did, and when."""

from collections.abc import Callable
from datetime import timedelta

import bide

app = bide.App()
A_LONG_TIME = timedelta(hours=9)
RUN_LENGTH = 7
"""Events that one generation of `stream` consumes."""


def add_activities(note: Callable[[str, int], dict], is_mended: Callable[[str], bool]) -> None:
    """Give the app its activities; all that they do is to call `note`, and to return what it does; one fails until mended."""

    @app.activity
    async def work(what: list) -> dict:
        """On the event loop."""
        return note(*what)

    @app.activity
    def heavy_work(what: list) -> dict:
        """In a thread."""
        return note(*what)

    @app.activity
    def fragile_work(what: list) -> dict:
        if not is_mended(what[0]):
            raise RuntimeError("not yet")
        return note(*what)


@app.orchestrator
def stream(context):
    """Consume `n` in every way in which one can wait, until "stop"; after every third an activity. New generations."""
    seen = context.get_input() or []
    context.set_custom_status([value for value, _ in seen])
    for _ in range(RUN_LENGTH):
        value = yield from consume(context, len(seen))
        if value == "stop":
            return seen
        seen.append([value, None])
        context.set_custom_status([value for value, _ in seen])
        if len(seen) % 3 == 0:
            seen[-1][1] = yield context.call_activity("work", [context.instance_id, len(seen)])
    context.continue_as_new(seen)
    return None


def consume(context, step: int):
    wait = context.wait_for_external_event
    match step % 4:
        case 0:
            return (yield wait("n"))
        case 1:
            event = wait("N")
            yield context.task_any([wait("never"), event])
            return event.result
        case 2:
            return (yield wait("n", timeout=A_LONG_TIME, default="late"))
        case _:
            event, deadline = wait("n"), context.create_timer(A_LONG_TIME)
            yield context.task_any([deadline, event])
            deadline.cancel()
            return event.result


@app.orchestrator
async def gates(context):
    """Wait for three at once, then for the second of one of them."""
    first = await context.task_all([context.wait_for_external_event(name) for name in ("A", "B", "C")])
    done = await context.call_activity("heavy_work", [context.instance_id, 0])
    return [*first, await context.wait_for_external_event("a"), done]


@app.orchestrator
def race(context):
    """Wait for the first of two, and then for the other: who lost has swallowed nothing."""
    one, other = context.wait_for_external_event("One"), context.wait_for_external_event("Other")
    winner = yield context.task_any([one, other])
    left = "Other" if winner is one else "One"
    return [winner.result, (yield context.wait_for_external_event(left))]


@app.orchestrator
def nap(context):
    """Sleep, and wait for nothing with a timeout; tell when each should have ended, and when it did."""
    began, span = context.current_utc_datetime, timedelta(seconds=context.get_input())
    yield context.create_timer(span)
    woke = context.current_utc_datetime
    default = yield context.wait_for_external_event("never", timeout=span, default="late")
    given_up = context.current_utc_datetime
    done = yield context.call_activity("work", [context.instance_id, 0])
    return [each.timestamp() for each in (began, began + span, woke, woke + span, given_up)] + [default, done]


@app.orchestrator
def family(context):
    """Children that wait for an event, and one that fails; their results."""
    names = context.get_input()
    children = [context.call_sub_orchestrator(child, number, name) for number, name in enumerate(names)]
    results = yield context.task_all(children)
    try:
        yield context.call_sub_orchestrator(doomed, "as it should", f"{context.instance_id}-doomed")
    except bide.TaskFailedError as error:
        results.append(error.message)
    return results


@app.orchestrator
def child(context):
    event = yield context.wait_for_external_event("Go")
    done = yield context.call_activity("heavy_work", [context.instance_id, 0])
    return [context.get_input(), event, done]


@app.orchestrator
def doomed(context):
    yield context.create_timer(timedelta(milliseconds=5))
    raise ValueError(context.get_input())


@app.orchestrator
def fragile(context):
    """Fail until it is mended, by itself or by a child of a child."""
    depth, root = context.get_input()
    if depth == 0:
        return (yield context.call_activity("fragile_work", [root, 0]))
    return (yield context.call_sub_orchestrator(fragile, [depth - 1, root], f"{root}-{depth - 1}"))


@app.orchestrator
def relay(context):
    """Send values to a stream: the first few between activities, and then all the others at once."""
    target, values = context.get_input()
    for number, value in enumerate(values):
        context.send_event(target, "n", value)
        if number in {1, 4}:
            yield context.call_activity("work", [context.instance_id, number])
    return len(values)


@app.orchestrator
def teller(context):
    """Put tokens into a ledger by calls and by signals; the answers of the calls."""
    ledger, name, count = context.get_input()
    answers = []
    for number in range(count):
        context.signal_entity(ledger, "add", f"{name}-s{number}")
        answers.append((yield context.call_entity(ledger, "add", f"{name}-c{number}")))
    return answers


@app.orchestrator
def transfer(context):
    """Move money between two accounts under a lock; what they hold in the middle of it."""
    source, target, amounts = context.get_input()
    sums = []
    for amount in amounts:
        with (yield context.lock_entities([source, target])):
            yield context.call_entity(source, "add", -amount)
            held = yield context.call_entity(source, "get")
            held += yield context.call_entity(target, "get")
            yield context.call_entity(target, "add", amount)
            sums.append(held + amount)
    return sums


@app.entity
def ledger(context):
    """Keeps every token in the order in which it came; the answer is its place."""
    tokens = context.get_state(list)
    tokens.append(context.get_input())
    context.set_state(tokens)
    return len(tokens)


@app.entity
async def account(context):
    balance = context.get_state(lambda: 1000)
    if context.operation_name == "add":
        balance += context.get_input()
        context.set_state(balance)
    return balance
