"""Questions about a history that need no user code."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bide.model.events import (
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityUnlockSent,
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
    """Leave out what rewinds took back: the run's end, the failures, and the scheduling of what is to be tried anew."""
    kept: list[HistoryEvent] = []
    for event in events:
        if isinstance(event, ExecutionRewound):
            kept = [each for each in kept if not _is_undone(each, event.task_ids)]
        kept.append(event)
    return kept


def _is_undone(event: HistoryEvent, task_ids: tuple[int, ...]) -> bool:
    if isinstance(event, ExecutionCompleted):
        return True
    return isinstance(event, _UNDONE) and event.task_id in task_ids


_UNDONE = (
    TaskScheduled,
    TaskFailed,
    SubOrchestrationInstanceFailed,
    EntityOperationCalled,
    EntityLockRequested,
    EntityOperationFailed,
)
"""A child is not scheduled anew: it is rewound itself."""


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
    """What was scheduled and has not ended, by task id; timers with the time at which they fire.

    `locks` are those that were asked for and not given back, granted or not.
    """

    activities: dict[int, TaskScheduled] = field(default_factory=dict)
    children: dict[int, SubOrchestrationInstanceCreated] = field(default_factory=dict)
    timers: dict[int, int] = field(default_factory=dict)
    calls: dict[int, EntityOperationCalled] = field(default_factory=dict)
    locks: dict[int, EntityLockRequested] = field(default_factory=dict)


_OPENED: Mapping[type[HistoryEvent], str] = {
    TaskScheduled: "activities",
    SubOrchestrationInstanceCreated: "children",
    EntityOperationCalled: "calls",
    EntityLockRequested: "locks",
}
_CLOSED: Mapping[type[HistoryEvent], tuple[str, ...]] = {
    TaskCompleted: ("activities",),
    TaskFailed: ("activities",),
    SubOrchestrationInstanceCompleted: ("children",),
    SubOrchestrationInstanceFailed: ("children",),
    TimerFired: ("timers",),
    EntityOperationCompleted: ("calls",),
    EntityOperationFailed: ("calls", "locks"),
}
"""Which events open, and end, which of the tables of `OpenTasks`; the others are told in `open_tasks`."""


def open_tasks(events: Iterable[Any]) -> OpenTasks:
    """Find the open tasks of an effective history. Cancelled timers are among them: only the code knows those."""
    tasks = OpenTasks()
    for event in events:
        if (opened := _OPENED.get(type(event))) is not None:
            getattr(tasks, opened)[event.task_id] = event
        elif isinstance(event, TimerCreated):
            tasks.timers[event.task_id] = event.fire_at
        elif isinstance(event, EntityUnlockSent):
            tasks.locks.pop(event.lock_id, None)
        for closed in _CLOSED.get(type(event), ()):
            getattr(tasks, closed).pop(event.task_id, None)
    return tasks
