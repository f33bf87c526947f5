"""The rules as tables: history in, actions and outcome out. No loop, no store, no clock."""

from datetime import timedelta

import pytest

from bide.app import App
from bide.core.execution import Completed, ContinuedAsNew, Execution, Failed
from bide.core.retry import RetryOptions
from bide.errors import NonDeterminismError, TaskFailedError
from bide.model.events import (
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventRaised,
    EventSent,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from bide.model.failure import FailureDetails

app = App()
NO = FailureDetails("ValueError", "no")


@app.orchestrator
def one_wait(context):
    return (yield context.wait_for_external_event("A"))


@app.orchestrator
def race(context):
    wait, timer = context.wait_for_external_event("A"), context.create_timer(timedelta(seconds=1))
    winner = yield context.task_any([wait, timer])
    if winner is timer:
        yield context.call_activity("remind")
        return ["late", (yield wait)]
    timer.cancel()
    return wait.result


@app.orchestrator
def three_gates(context):
    gates = yield context.task_all([context.wait_for_external_event(name) for name in ("A", "B", "C")])
    return (yield context.call_activity("issue", gates))


@app.orchestrator
def everything(context):
    context.send_event("other", "Ping", 1)
    child = context.call_sub_orchestrator("child", "in", "child-1")
    yield context.call_activity("act", {"a": 1})
    return (yield child)


@app.orchestrator
def locker(context):
    context.signal_entity("@Cell@z", "ping", 1, scheduled_time=timedelta(seconds=1))
    with (yield context.lock_entities(["@cell@b", "@CELL@a", "@cell@b"])):
        return (yield context.call_entity("@cell@a", "get", type=int))


@app.orchestrator
def again(context):
    yield context.wait_for_external_event("A")
    context.continue_as_new("next", version="2")


@app.orchestrator
def guarded(context):
    try:
        yield context.call_activity("act")
    except TaskFailedError as error:
        return str(error)


@app.orchestrator
def votes(context):
    pairs = [context.task_any([context.wait_for_external_event(name) for name in "AB"]) for _ in range(2)]
    winners = yield context.task_all(pairs)
    return [winner.name for winner in winners]


@app.orchestrator
def race_then_both(context):
    first = context.task_any([context.wait_for_external_event("A"), context.create_timer(timedelta(seconds=1))])
    yield context.task_all([first, context.wait_for_external_event("A")])


@app.orchestrator
def loser_with_timeout(context):
    late, go = context.wait_for_external_event("A", timeout=timedelta(seconds=1)), context.wait_for_external_event("Go")
    yield context.task_any([late, go])
    yield context.call_activity("act")
    return (yield context.wait_for_external_event("A"))


def raised(name, value="null", at=5):
    return EventRaised(name, value, at)


START = (ExecutionStarted("x", "e1", '"input"'), OrchestratorStarted(1_000_000))
TURN = OrchestratorStarted(3_000_000)

SIGNAL = EntityOperationSignaled(0, "@cell@z", "ping", "1", 2_000_000)
LOCK = EntityLockRequested(1, ("@cell@a", "@cell@b"))
CALL = EntityOperationCalled(2, "@cell@a", "get")

TABLE = [
    # what the code does, what happens, what it asks for, how it ends, what it waits for, what is buffered
    ("one_wait", [], [], None, ["A"], None),
    ("one_wait", [raised("A", "7")], [], "7", [], None),
    ("one_wait", [raised("B"), raised("b")], [], None, ["A"], {"B": 2}),
    ("one_wait", [raised("a", "1"), raised("A", "2")], [], "1", [], {"A": 1}),
    ("one_wait", [ExecutionSuspended(), raised("A", "1")], [], None, ["A"], {"A": 1}),
    ("one_wait", [ExecutionSuspended(), raised("A", "1"), ExecutionResumed()], [], "1", [], None),
    ("race", [], [TimerCreated(0, 2_000_000)], None, ["A"], None),
    ("race", [raised("A", "1")], [TimerCreated(0, 2_000_000)], "1", [], None),
    ("race", [TURN, TimerFired(0)], [TimerCreated(0, 2_000_000), TaskScheduled(1, "remind")], None, [], None),
    (
        "race",
        [TURN, TimerFired(0), TaskScheduled(1, "remind"), raised("A", "1")],
        [TimerCreated(0, 2_000_000), TaskScheduled(1, "remind")],
        None,
        [],
        {"A": 1},
    ),
    (
        "race",
        [TURN, TimerFired(0), TaskScheduled(1, "remind"), raised("A", "1"), TaskCompleted(1)],
        [TimerCreated(0, 2_000_000), TaskScheduled(1, "remind")],
        '["late",1]',
        [],
        None,
    ),
    ("three_gates", [raised("C", "3"), raised("A", "1")], [], None, ["B"], None),
    (
        "three_gates",
        [raised("C", "3"), raised("A", "1"), raised("B", "2")],
        [TaskScheduled(0, "issue", "[1,2,3]")],
        None,
        [],
        None,
    ),
    (
        "everything",
        [],
        [
            EventSent(0, "other", "Ping", "1"),
            SubOrchestrationInstanceCreated(1, "child", "child-1", '"in"'),
            TaskScheduled(2, "act", '{"a":1}'),
        ],
        None,
        [],
        None,
    ),
    # a wait that has lost its race takes nothing
    ("votes", [raised("A"), raised("B")], [], '["A","B"]', [], None),
    ("votes", [ExecutionSuspended(), raised("A"), raised("B"), ExecutionResumed()], [], '["A","B"]', [], None),
    ("race_then_both", [TURN, TimerFired(0), raised("A")], [TimerCreated(0, 2_000_000)], "null", [], None),
    (
        "loser_with_timeout",
        [raised("Go"), raised("A", "1"), TURN, TimerFired(0)],
        [TimerCreated(0, 2_000_000), TaskScheduled(1, "act")],
        None,
        [],
        {"A": 1},
    ),
    (
        "loser_with_timeout",
        [raised("Go"), raised("A", "1"), TURN, TimerFired(0), TaskCompleted(1)],
        [TimerCreated(0, 2_000_000), TaskScheduled(1, "act")],
        "1",
        [],
        None,
    ),
    ("locker", [], [SIGNAL, LOCK], None, [], None),
    ("locker", [EntityLockGranted(1)], [SIGNAL, LOCK, CALL], None, [], None),
    (
        "locker",
        [EntityLockGranted(1), EntityOperationCompleted(2, "5")],
        [SIGNAL, LOCK, CALL, EntityUnlockSent(3, 1)],
        "5",
        [],
        None,
    ),
    ("guarded", [TaskFailed(0, NO)], [TaskScheduled(0, "act")], '"act failed: ValueError: no"', [], None),
    ("guarded", [TaskCompleted(0), TaskCompleted(0)], [TaskScheduled(0, "act")], "null", [], None),
    ("guarded", [TaskCompleted(9)], [TaskScheduled(0, "act")], None, [], None),
]


def fed(name, events):
    """Run the code live on `events`; the execution and all actions."""
    execution = Execution(app.orchestrators[name], "i")
    actions = []
    for event in (*START, *events):
        if isinstance(event, TaskScheduled):
            continue  # stands in the table for the recording of what was asked for
        execution.apply(event)
        actions += execution.take_actions()
    return execution, actions


@pytest.mark.parametrize(("name", "events", "actions", "result", "waits", "buffered"), TABLE)
def test_history_in_actions_out(name, events, actions, result, waits, buffered):
    execution, asked = fed(name, events)
    assert asked == actions
    assert [task.name for task in execution.parked()] == waits
    assert execution.buffered() == buffered
    if result is None:
        assert execution.outcome is None
    else:
        assert isinstance(execution.outcome, Completed)
        assert (execution.outcome.result or "null") == result


@pytest.mark.parametrize(("name", "events", "actions", "result", "waits", "buffered"), TABLE)
def test_a_replay_arrives_at_the_same_place(name, events, actions, result, waits, buffered):
    """The history, with each action recorded where it was asked for, gives the same state and asks for nothing."""
    live = Execution(app.orchestrators[name], "i")
    history = []
    for event in (*START, *(each for each in events if not isinstance(each, TaskScheduled))):
        live.apply(event)
        history += [event, *live.take_actions()]
    if result is not None:
        return  # an execution that has ended is not replayed
    replayed = Execution(app.orchestrators[name], "i", history)
    assert replayed.take_actions() == []
    assert [task.name for task in replayed.parked()] == waits
    assert replayed.buffered() == buffered


def test_continue_as_new_keeps_what_was_not_consumed():
    """In order of arrival across names, with the original time stamps."""
    execution, _ = fed(
        "again", [raised("B", "1", 11), raised("c", "2", 12), raised("A", "3", 13), raised("B", "4", 14)]
    )
    assert isinstance(execution.outcome, ContinuedAsNew)
    assert (execution.outcome.input, execution.outcome.version) == ('"next"', "2")
    assert [(event.name, event.timestamp) for event in execution.unconsumed()] == [("B", 11), ("c", 12), ("B", 14)]


NOT_DETERMINISTIC = [
    ("one_wait", [TaskScheduled(0, "act")], "activity 'act' (#0)", "nothing of the kind"),
    ("race", [], "nothing more in this turn", "a timer (#0)"),
    ("race", [TaskScheduled(0, "act")], "activity 'act' (#0)", "a timer (#0)"),
    (
        "locker",
        [EntityOperationSignaled(0, "@cell@z", "pong")],
        "signal 'pong' to @cell@z (#0)",
        "signal 'ping' to @cell@z (#0)",
    ),
    (
        "locker",
        [SIGNAL, EntityLockRequested(1, ("@cell@a",))],
        "the lock of @cell@a (#1)",
        "the lock of @cell@a, @cell@b (#1)",
    ),
    (
        "locker",
        [SIGNAL, LOCK, EntityLockGranted(1), EntityOperationCalled(2, "@cell@b", "get")],
        "call of 'get' of @cell@b (#2)",
        "call of 'get' of @cell@a (#2)",
    ),
    ("locker", [SIGNAL, LOCK, EntityUnlockSent(2, 1)], "the release of lock #1 (#2)", "nothing of the kind"),
    ("guarded", [TaskScheduled(0, "other")], "activity 'other' (#0)", "activity 'act' (#0)"),
    ("guarded", [TaskScheduled(0, "act"), TaskCompleted(0)], "an execution that goes on", "its end"),
]


@pytest.mark.parametrize(("name", "events", "expected", "actual"), NOT_DETERMINISTIC)
def test_code_that_does_not_fit_its_history(name, events, expected, actual):
    """Both sides are told: what the history holds, and what the code asked for."""
    with pytest.raises(NonDeterminismError) as caught:
        Execution(app.orchestrators[name], "i", [*START, *events])
    assert (caught.value.expected, caught.value.actual) == (expected, actual)


def test_an_error_in_the_code_is_its_outcome():
    """With type, text, and a traceback that begins in the user's own code."""

    @(local := App()).orchestrator
    def broken(context):
        raise KeyError(context.get_input())
        yield

    execution = Execution(local.orchestrators["broken"], "i")
    for event in START:
        execution.apply(event)
    assert isinstance(execution.outcome, Failed)
    failure = execution.outcome.failure
    assert (failure.error_type, failure.message) == ("KeyError", "'input'")
    assert failure.stack_trace is not None
    assert "core/execution.py" not in failure.stack_trace


@pytest.mark.parametrize(
    ("coefficient", "cap", "delays"),
    [
        (1.0, None, [1, 1, 1, 1]),
        (2.0, None, [1, 2, 4, 8]),
        (2.0, 3, [1, 2, 3, 3]),
        (1.5, None, [1, 1.5, 2.25, 3.375]),
        (10.0**300, 60, [1, 60, 60, 60]),
    ],
)
def test_pauses_of_retries(coefficient, cap, delays):
    """first * coefficient ** (n - 1), at most the cap, whatever the numbers."""
    longest = None if cap is None else timedelta(seconds=cap)
    options = RetryOptions(timedelta(seconds=1), 9, backoff_coefficient=coefficient, max_retry_interval=longest)
    assert [options.delay_after(attempt) / 1_000_000 for attempt in (1, 2, 3, 4)] == delays
