"""Waits for external events: which of the SDK's count, and what the engine blocks on meanwhile.

The SDK binds an event to a wait as soon as it comes, the engine as late as possible: only what the code is blocked on, or
looks at, takes one. So each wait of the SDK has one of the engine's beside it and is told of its event only by that.
Without this an early event would be lost, or be used twice.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from bide.core.tasks import ActivityTask, Claims, EventTask, Task, WhenAnyTask
from bide.functions.sdk.package import load


class Turn(WhenAnyTask[Any]):
    """What the engine blocks on: waits that may take an event. It is over when the SDK says that its code can go on."""

    __slots__ = ("_decisive",)

    def __init__(self, claims: Claims, waits: list[EventTask[Any]]) -> None:
        self._decisive: Task[Any] | None = None
        super().__init__(claims, waits)

    def finish(self, task: Task[Any]) -> None:
        """End it with `task`. It fails with it, so that the engine knows what a rewind has to try anew."""
        self._decisive = task
        if task._error is None:
            self._complete(None)
        else:
            self._fail(task._error)

    def failed_parts(self) -> Iterable[ActivityTask[Any]]:
        return () if self._decisive is None else self._decisive.failed_parts()

    def _child_done(self, child: Task[Any]) -> None:
        """Do nothing: the end of one part need not be the end of what the SDK waits for."""


def open_waits(task: Any) -> Iterator[Any]:
    """Give the SDK's waits in `task` that have no event yet."""
    if task.state is not load().running:
        return
    if hasattr(task, "children"):
        for child in task.children:
            yield from open_waits(child)
    elif isinstance(task.id, str):  # all others have numbers
        yield task


def pair(task: Any, wait: EventTask[Any]) -> None:
    """Put the engine's `wait` beside the SDK's, which lets the engine know from now on when it is looked at."""
    kind: Any = type(task)
    task.__class__ = _paired(kind)
    task.bide_wait = wait


class _Paired:
    bide_wait: EventTask[Any]

    @property
    def is_completed(self) -> bool:
        return self.bide_wait.is_completed  # claims its event, if there is one, before it answers


@cache
def _paired(kind: type) -> type:
    return type(kind.__name__, (_Paired, kind), {"__module__": kind.__module__})
