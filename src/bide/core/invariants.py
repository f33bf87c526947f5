"""Whether what is stored of an instance agrees with itself: its row with its history.

What only the code knows is left open: which timers it has cancelled, which events it has consumed, what it returned.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from bide.core.entities import EntityInstance
from bide.core.history import effective_history, open_tasks
from bide.errors import BideError
from bide.model.codec import encode_payload
from bide.model.commit import Turn
from bide.model.entities import ENTITY_MARK
from bide.model.events import (
    EntityRequested,
    EntityStarted,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    OrchestratorStarted,
)
from bide.model.failure import FailureDetails
from bide.model.instance import InstanceRow, OrchestrationRuntimeStatus
from bide.model.names import event_key

_Status = OrchestrationRuntimeStatus
_PHASES: dict[type[HistoryEvent], OrchestrationRuntimeStatus] = {
    ExecutionSuspended: _Status.SUSPENDED,
    ExecutionResumed: _Status.RUNNING,
    ExecutionRewound: _Status.RUNNING,
    ExecutionTerminated: _Status.TERMINATED,
}
_FROM_START = ("name", "execution_id", "version", "parent_instance_id", "generation", "tags")

Problem = tuple[str, str]
"""In which table, and what it should be."""


def problems(row: InstanceRow, turns: Sequence[tuple[Turn, Sequence[HistoryEvent]]]) -> Iterator[Problem]:
    """Tell where the row and the history of an instance disagree; `turns` with their events, in order."""
    if not turns:
        yield "history", "should have at least one turn"
        return
    yield from _numbers(row, [turn.seq for turn, _ in turns])
    events = [event for _, turn in turns for event in turn]
    if not events:
        yield "history", "should begin with an event"
    elif row.instance_id.startswith(ENTITY_MARK):
        yield from _entity(row, turns[0][0].seq, events)
    else:
        yield from _orchestration(row, turns[-1][0].at, events)


def _numbers(row: InstanceRow, numbers: list[int]) -> Iterator[Problem]:
    gaps = [number for number, after in pairwise(numbers) if after != number + 1]
    for number in gaps:
        yield "history", f"turn {number} should be followed by turn {number + 1}"
    is_first_run = row.generation == 0 and not row.instance_id.startswith(ENTITY_MARK)
    if numbers[0] < 0 or (is_first_run and numbers[0] != 0):
        yield "history", f"the first turn is {numbers[0]}, should be 0"


def _should(column: str, actual: Any, expected: Any) -> Iterator[Problem]:
    if actual != expected:
        yield "instances", f"{column} is {actual!r:.200}, should be {expected!r:.200}"


# Orchestrations


def _orchestration(row: InstanceRow, last_at: int, events: list[HistoryEvent]) -> Iterator[Problem]:
    started = events[0]
    if not isinstance(started, ExecutionStarted):
        yield "history", f"should begin with ExecutionStarted, not {started.event_type}"
        return
    for column in _FROM_START:
        yield from _should(column, getattr(row, column), getattr(started, column))
    events = effective_history(events)
    yield from _status(row, last_at, events)
    yield from _outstanding(row, events)
    yield from _raised(row, events)


def _status(row: InstanceRow, last_at: int, events: list[HistoryEvent]) -> Iterator[Problem]:
    status = _expected_status(row, events)
    yield from _should("status", row.status.label, status.label)
    if status in {_Status.RUNNING, _Status.PENDING}:
        is_pending = status is _Status.PENDING
        yield from _should("start_at", "set" if row.start_at is not None else None, "set" if is_pending else None)
    if not status.is_ended:
        for column in ("ended_at", "output", "failure"):
            yield from _should(column, getattr(row, column), None)
        return
    yield from _should("ended_at", row.ended_at, last_at)
    yield from _end(row, events[-1])


def _expected_status(row: InstanceRow, events: list[HistoryEvent]) -> OrchestrationRuntimeStatus:
    status = _Status.RUNNING
    for event in events:
        status = _Status(event.status) if isinstance(event, ExecutionCompleted) else _PHASES.get(type(event), status)
    has_begun = any(isinstance(event, OrchestratorStarted) for event in events)
    is_waiting = status is _Status.RUNNING and row.start_at is not None and not has_begun
    return _Status.PENDING if is_waiting else status


def _end(row: InstanceRow, event: HistoryEvent) -> Iterator[Problem]:
    match event:
        case ExecutionCompleted(failure=None):
            yield from _should("failure", row.failure, None)
        case ExecutionCompleted(failure=FailureDetails() as failure):
            yield from _should("failure", row.failure, failure)
            yield from _should("output", row.output, encode_payload(failure.message))
        case ExecutionTerminated():
            yield from _should("failure", row.failure, None)
            yield from _should("output", row.output, encode_payload(event.reason))
        case _:
            yield "history", f"should say nothing after its end, not {event.event_type}"


def _outstanding(row: InstanceRow, events: list[HistoryEvent]) -> Iterator[Problem]:
    tasks = open_tasks(events)
    is_live = not row.status.is_ended
    yield from _should("is_active", row.is_active, is_live and bool(tasks.activities))
    if row.status is _Status.PENDING:
        yield from _should("next_timer_at", row.next_timer_at, row.start_at)
    elif not is_live:
        yield from _should("next_timer_at", row.next_timer_at, None)
    elif row.next_timer_at is not None and row.next_timer_at not in tasks.timers.values():
        open_ = sorted(set(tasks.timers.values()))
        yield "instances", f"next_timer_at is {row.next_timer_at}, should be empty or that of an open timer: {open_}"


def _raised(row: InstanceRow, events: list[HistoryEvent]) -> Iterator[Problem]:
    raised = [event for event in events if isinstance(event, EventRaised)]
    there = Counter(event_key(event.name) for event in raised)
    for name, count in (row.buffered or {}).items():
        if not 0 < count <= there[event_key(name)]:
            yield (
                "instances",
                f"buffered has {count} of {name!r}, should be 1 to {there[event_key(name)]}, as were raised",
            )
    for event_id, times in Counter(event.event_id for event in raised if event.event_id is not None).items():
        if times > 1:
            yield "history", f"holds {times} events with id {event_id!r}, should be one"


# Entities


def _entity(row: InstanceRow, first_seq: int, events: list[HistoryEvent]) -> Iterator[Problem]:
    if not isinstance(events[0], EntityStarted) and (first_seq, type(events[0])) != (0, EntityRequested):
        yield "history", f"should begin with EntityStarted, not {events[0].event_type}"
        return
    try:
        entity = EntityInstance.told(row, events)
    except (AssertionError, BideError, IndexError, KeyError) as error:
        yield "history", f"does not fit together: {type(error).__name__}: {error}"
        return
    if entity.is_empty:
        yield "instances", "should have been removed: it has no state and nothing to do"
    for column in row.__struct_fields__:
        yield from _should(column, getattr(row, column), getattr(entity.row, column))
