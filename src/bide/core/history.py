"""Questions about a history that need no user code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bide.model.events import (
    EventRaised,
    ExecutionCompleted,
    ExecutionRewound,
    HistoryEvent,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from bide.model.names import event_key


def effective_history(events: Sequence[HistoryEvent]) -> list[HistoryEvent]:
    """Leave out what rewinds took back: the run's end, the failures, and the scheduling of the activities to try anew."""
    kept: list[HistoryEvent] = []
    for event in events:
        if isinstance(event, ExecutionRewound):
            kept = [each for each in kept if not _is_undone(each, event.task_ids)]
        kept.append(event)
    return kept


def _is_undone(event: HistoryEvent, task_ids: tuple[int, ...]) -> bool:
    if isinstance(event, ExecutionCompleted):
        return True
    return isinstance(event, TaskScheduled | TaskFailed | SubOrchestrationInstanceFailed) and event.task_id in task_ids


def buffered_events(events: Sequence[HistoryEvent], counts: Mapping[str, int]) -> list[EventRaised]:
    """Find the events that nobody consumed, in order of arrival; `counts` says how many there are of each name.

    The oldest of a name are consumed first, so they are the last ones.
    """
    left = {event_key(name): count for name, count in counts.items()}
    found = []
    for event in reversed(events):
        if isinstance(event, EventRaised) and left.get(event_key(event.name), 0):
            left[event_key(event.name)] -= 1
            found.append(event)
    return found[::-1]


@dataclass(slots=True)
class OpenTasks:
    """What was scheduled and has not ended, by task id; timers with the time at which they fire."""

    activities: dict[int, TaskScheduled] = field(default_factory=dict)
    children: dict[int, SubOrchestrationInstanceCreated] = field(default_factory=dict)
    timers: dict[int, int] = field(default_factory=dict)


def open_tasks(events: Sequence[HistoryEvent]) -> OpenTasks:
    """Find the open tasks of an effective history. Cancelled timers are among them: only the code knows those."""
    tasks = OpenTasks()
    for event in events:
        match event:
            case TaskScheduled():
                tasks.activities[event.task_id] = event
            case TaskCompleted() | TaskFailed():
                tasks.activities.pop(event.task_id, None)
            case SubOrchestrationInstanceCreated():
                tasks.children[event.task_id] = event
            case SubOrchestrationInstanceCompleted() | SubOrchestrationInstanceFailed():
                tasks.children.pop(event.task_id, None)
            case TimerCreated():
                tasks.timers[event.task_id] = event.fire_at
            case TimerFired():
                tasks.timers.pop(event.task_id, None)
            case _:
                pass
    return tasks
