"""What an orchestrator yields or awaits: `Task` and its kinds.

A leaf task is completed by a history event; a composite by its children. `yield task` gives its result, or raises its
error; a composite may hold composites, and a task may be in several.

Waits for external events differ from the other leaves in one way: they take their event as late as possible, when they
are awaited (by themselves or in a composite) or looked at. `Claims` is how a task asks for that.
"""

from collections.abc import Generator, Iterable, Sequence
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar, cast

from bide.errors import OrchestratorContractError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _State(Enum):
    PENDING = 0
    COMPLETED = 1
    FAILED = 2
    CANCELED = 3


PENDING, _COMPLETED, _FAILED, _CANCELED = _State


class Parent(Protocol):
    """Whoever is told when a task is done."""

    def _child_done(self, child: "Task[Any]") -> None: ...


class Claims(Protocol):
    """The part of the execution that tasks need."""

    def offer(self, task: "Task[Any]") -> None:
        """Let the waits in `task` claim buffered events, oldest event first, until `task` is done."""
        ...

    def cancel_timer(self, task_id: int) -> None: ...


class Task(Generic[T_co]):
    """Something an orchestrator can wait for. Made by the context's methods, never directly.

    `==` is identity, so `winner == approval` tells which task of `task_any` won.
    """

    __slots__ = ("_claims", "_error", "_has_waits", "_parents", "_state", "_value")

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._state = PENDING
        self._value: Any = None
        self._error: BaseException | None = None
        self._parents: list[Parent] = []
        self._has_waits = False

    @property
    def is_completed(self) -> bool:
        """Whether the task is done: it has a result, failed or was cancelled. Looking at a wait lets it claim its event."""
        self._look()
        return self._state is not PENDING

    @property
    def is_faulted(self) -> bool:
        """Whether the task failed."""
        self._look()
        return self._state is _FAILED

    @property
    def is_canceled(self) -> bool:
        return self._state is _CANCELED

    @property
    def exception(self) -> BaseException | None:
        """The error of a failed task, else None."""
        self._look()
        return self._error

    @property
    def result(self) -> T_co:
        """The result of a completed task; raises the error of a failed one.

        Raises `OrchestratorContractError` when the task is not done yet: `yield` it to wait.
        """
        self._look()
        if self._error is not None:
            raise self._error
        if self._state is not _COMPLETED:
            raise OrchestratorContractError(f"{self!r} has no result yet; yield or await it first.")
        return cast("T_co", self._value)

    def cancel(self) -> None:
        """Give up waiting. A timer no longer fires, a wait takes no event; no effect on a task that is done.

        Raises `OrchestratorContractError` for activities, sub-orchestrations and calls: they cannot be called back.
        """
        raise OrchestratorContractError(f"{self!r} cannot be cancelled; only timers and waits can.")

    def __await__(self) -> "Generator[Task[T_co], Any, T_co]":
        return (yield self)  # type: ignore[no-any-return]

    def failed_parts(self) -> "Iterable[ActivityTask[Any]]":
        """Activities and sub-orchestrations in it that failed: what a rewind tries anew."""
        return ()

    def _look(self) -> None:
        if self._has_waits and self._state is PENDING:
            self._claims.offer(self)

    def _complete(self, value: Any) -> None:
        self._settle(_COMPLETED, value, None)

    def _fail(self, error: BaseException) -> None:
        self._settle(_FAILED, None, error)

    def _settle_canceled(self, error: BaseException) -> None:
        self._settle(_CANCELED, None, error)

    def _settle(self, state: _State, value: Any, error: BaseException | None) -> None:
        if self._state is not PENDING:
            return
        self._state, self._value, self._error = state, value, error
        for parent in self._parents:
            parent._child_done(self)


class ActivityTask(Task[T_co]):
    """An activity, a sub-orchestration or a call of an entity under `task_id`; `type` is that of the result."""

    __slots__ = ("name", "task_id", "type")

    def __init__(self, claims: Claims, task_id: int, name: str, into: Any) -> None:
        super().__init__(claims)
        self.task_id = task_id
        self.name = name
        self.type = into

    def failed_parts(self) -> "Iterable[ActivityTask[Any]]":
        return (self,) if self._state is _FAILED else ()

    def __repr__(self) -> str:
        return f"<task {self.name!r} #{self.task_id} {self._state.name.lower()}>"


class TimerTask(Task[None]):
    """A durable timer; its result is None."""

    __slots__ = ("fire_at", "task_id")

    def __init__(self, claims: Claims, task_id: int, fire_at: int) -> None:
        super().__init__(claims)
        self.task_id = task_id
        self.fire_at = fire_at

    def __repr__(self) -> str:
        return f"<timer #{self.task_id} {self._state.name.lower()}>"

    def cancel(self) -> None:
        """Stop the timer; no effect when it has fired."""
        if self._state is PENDING:
            self._settle_canceled(TaskCanceledError(self))
            self._claims.cancel_timer(self.task_id)


class EventTask(Task[T_co]):
    """A wait for one external event. `key` is the folded name, `number` counts the waits of an execution."""

    __slots__ = ("default", "expired_at", "key", "name", "number", "since", "timer", "type")

    def __init__(self, claims: Claims, number: int, name: str, key: str, into: Any) -> None:
        super().__init__(claims)
        self._has_waits = True
        self.number = number
        self.name = name
        self.key = key
        self.type = into
        self.timer: TimerTask | None = None
        self.default: tuple[Any] | None = None
        self.expired_at: int | None = None
        """How many events had arrived when its time was over, while nobody waited for it."""
        self.since: int | None = None
        """When the orchestrator was first seen blocked on it."""

    def __repr__(self) -> str:
        return f"<wait for {self.name!r} {self._state.name.lower()}>"

    def time_out(self) -> None:
        """Give the default for the event that did not come, or raise at the yield."""
        if self.default is None:
            self._fail(TimeoutError(f"No event {self.name!r} arrived in time"))
        else:
            self._complete(self.default[0])

    def cancel(self) -> None:
        """Stop waiting; an event that arrives later stays for another wait."""
        if self._state is PENDING:
            self._settle_canceled(TaskCanceledError(self))

    def _settle(self, state: _State, value: Any, error: BaseException | None) -> None:
        super()._settle(state, value, error)
        if self.timer is not None:
            self.timer.cancel()


class TaskCanceledError(OrchestratorContractError):
    """The orchestrator awaited, or asked the result of, a task that it had cancelled itself."""

    def __init__(self, task: Task[Any]) -> None:
        super().__init__(f"{task!r} was cancelled by the orchestrator")


class _Composite(Task[T_co]):
    __slots__ = ("children",)

    def __init__(self, claims: Claims, children: Sequence[Task[Any]]) -> None:
        super().__init__(claims)
        self.children = children
        self._has_waits = any(child._has_waits for child in children)
        for child in children:
            child._parents.append(self)
        for child in children:
            if child._state is not PENDING:
                self._child_done(child)

    def failed_parts(self) -> Iterable[ActivityTask[Any]]:
        return (part for child in self.children for part in child.failed_parts())

    def _child_done(self, child: Task[Any]) -> None:
        raise NotImplementedError

    def _settle(self, state: _State, value: Any, error: BaseException | None) -> None:
        super()._settle(state, value, error)
        for child in self.children:  # a timer that sits in every round of a loop must not remember them all
            if child._state is PENDING and self in child._parents:
                child._parents.remove(self)


class WhenAllTask(_Composite[list[T]]):
    """All children, in argument order. Fails as soon as one child fails, with that child's error."""

    __slots__ = ("_open",)

    def __init__(self, claims: Claims, children: Sequence[Task[T]]) -> None:
        self._open = len(children)
        super().__init__(claims, children)
        if not children:
            self._complete([])

    def __repr__(self) -> str:
        return f"<all of {len(self.children)} tasks, {self._open} open>"

    def _child_done(self, child: Task[Any]) -> None:
        self._open -= 1
        if child._error is not None:
            self._fail(child._error)
        elif self._open == 0:
            self._complete([each._value for each in self.children])


class WhenAnyTask(_Composite[Task[T]]):
    """The first child that is done; the result is that task. Never fails itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<any of {len(self.children)} tasks {self._state.name.lower()}>"

    def _child_done(self, child: Task[Any]) -> None:
        self._complete(child)


def open_waits(task: Task[Any]) -> list[EventTask[Any]]:
    """List the pending waits in `task`, in the order in which they were made."""
    if not task._has_waits:
        return []
    if isinstance(task, EventTask):  # by far the most frequent
        return [task] if task._state is PENDING else []
    found: dict[int, EventTask[Any]] = {}
    _collect_waits(task, found)
    return [found[number] for number in sorted(found)]


def _collect_waits(task: Task[Any], found: dict[int, EventTask[Any]]) -> None:
    if task._state is not PENDING or not task._has_waits:
        return
    if isinstance(task, EventTask):
        found[task.number] = task
    elif isinstance(task, _Composite):
        for child in task.children:
            _collect_waits(child, found)
