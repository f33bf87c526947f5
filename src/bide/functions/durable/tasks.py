"""The tasks that an orchestrator of a Functions app yields: the members of SDK 1.x and 2.x on one class.

A task here is a plan for one of the engine's tasks. With 1.x rules the engine's task is made when this one is yielded, with 2.x
rules at once; from then on this one only shows it, with the results decoded and the errors in the SDK's words.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from bide.core.tasks import Task as EngineTask
from bide.core.tasks import TaskCanceledError
from bide.errors import TaskFailedError as EngineTaskFailedError
from bide.functions.durable.payload import loads, text_of


class TaskState(Enum):
    RUNNING = 0
    SUCCEEDED = 1
    FAILED = 2


class TaskFailedError(Exception):
    """An activity or a sub-orchestration failed. Its text is that of SDK 1.x, reason and stack; `details` are as in 2.x."""

    def __init__(self, text: str, details: "FailureDetails") -> None:
        super().__init__(text)
        self.details = details


class FailureDetails:
    def __init__(self, message: str, error_type: str, stack_trace: str | None) -> None:
        self.message = message
        self.error_type = error_type
        self.stack_trace = stack_trace


class TaskBase:
    """What `yield` waits for."""

    def __init__(self, make: Callable[[], EngineTask[Any]]) -> None:
        self._make = make
        self._inner: EngineTask[Any] | None = None
        self._outcome: tuple[Any, BaseException | None] | None = None
        self.parent: CompoundTask | None = None
        self.is_played = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.name}>"

    def begin(self) -> EngineTask[Any]:
        """Ask the engine for it, once."""
        if self._inner is None:
            self._inner = self._make()
        return self._inner

    def outcome(self) -> tuple[Any, BaseException | None]:
        """Give the result and the error of a task that is done."""
        if self._outcome is None:
            inner = self.begin()
            error = inner.exception
            try:
                self._outcome = (self._value(inner._value), None) if error is None else (None, self._error(error))
            except (ValueError, TypeError, AttributeError) as unreadable:
                self._outcome = (None, unreadable)
        return self._outcome

    def _value(self, value: Any) -> Any:
        return value

    def _error(self, error: BaseException) -> BaseException:
        return error

    @property
    def id(self) -> Any:
        return getattr(self._inner, "task_id", None)

    @property
    def state(self) -> TaskState:
        if self._inner is None or not self._inner.is_completed:
            return TaskState.RUNNING
        return TaskState.SUCCEEDED if self.outcome()[1] is None else TaskState.FAILED

    @property
    def is_completed(self) -> bool:
        return self.state is not TaskState.RUNNING

    is_complete = is_completed

    @property
    def is_failed(self) -> bool:
        return self.state is TaskState.FAILED

    is_faulted = is_failed

    @property
    def result(self) -> Any:
        """The value; of a failed task the exception (SDK 1.x). None while it runs."""
        if not self.is_completed:
            return None
        value, error = self.outcome()
        return value if error is None else error

    def get_result(self) -> Any:
        """Return the value, or raise the error (SDK 2.x)."""
        if not self.is_completed:
            raise ValueError("The task has not completed.")
        value, error = self.outcome()
        if error is not None:
            raise error
        return value

    def get_exception(self) -> BaseException | None:
        return self.outcome()[1] if self.is_completed else None


class AtomicTask(TaskBase):
    """An activity, a sub-orchestration, a wait for an event, or a call of an entity."""

    def __init__(
        self, make: Callable[[], EngineTask[Any]], describe: Callable[[EngineTaskFailedError], str], expected_type: Any
    ) -> None:
        """`describe` gives the text of a failure before its details."""
        super().__init__(make)
        self._describe = describe
        self._expected_type = expected_type

    def _value(self, value: Any) -> Any:
        return loads(text_of(value), self._expected_type)

    def _error(self, error: BaseException) -> BaseException:
        if not isinstance(error, EngineTaskFailedError):
            return error
        details = FailureDetails(error.message, error.error_type, error.stack_trace)
        return TaskFailedError(f"{self._describe(error)} \n {error.stack_trace or ''}", details)


RetryAbleTask = AtomicTask


class TimerTask(TaskBase):
    """A durable timer."""

    def __init__(self, make: Callable[[], EngineTask[Any]]) -> None:
        super().__init__(make)
        self._is_canceled = False

    @property
    def is_cancelled(self) -> bool:
        return self._is_canceled

    def cancel(self) -> None:
        """Stop the timer. Raises `ValueError` when it has fired."""
        if self.is_completed and not self._is_canceled:
            raise ValueError("Cannot cancel a completed task.")
        self._is_canceled = True
        self.begin().cancel()

    def _error(self, error: BaseException) -> BaseException:
        return ValueError("The timer was cancelled.") if isinstance(error, TaskCanceledError) else error


LongTimerTask = TimerTask


class CompoundTask(TaskBase):
    """Several tasks as one."""

    def __init__(
        self, children: Sequence[TaskBase], combine: Callable[[list[EngineTask[Any]]], EngineTask[Any]]
    ) -> None:
        super().__init__(lambda: combine([child.begin() for child in children]))
        self.children = list(children)
        for child in self.children:
            child.parent = self

    @property
    def pending_tasks(self) -> list[TaskBase]:
        return [child for child in self.children if not child.is_completed]

    @property
    def completed_tasks(self) -> list[TaskBase]:
        return [child for child in self.children if child.is_completed]


class WhenAllTask(CompoundTask):
    """All of them: the results in order, or the error of the first that failed."""

    def _value(self, value: Any) -> Any:  # noqa: ARG002
        return [child.outcome()[0] for child in self.children]

    def _error(self, error: BaseException) -> BaseException:
        failed = (child.outcome()[1] for child in self.children if child.is_completed)
        return next((each for each in failed if each is not None), error)


class WhenAnyTask(CompoundTask):
    """The first of them: the result is that task. `task_any([])` gives None."""

    def _value(self, value: Any) -> Any:
        return next((child for child in self.children if child._inner is value), None)


def check_task(value: Any) -> TaskBase:
    """Return `value` if it can be waited for. Raises `TypeError` that says what it is instead."""
    if isinstance(value, TaskBase):
        return value
    raise TypeError(
        f"An orchestrator may only yield durable tasks, but got {type(value).__name__}: {value!r:.100}. "
        "Combine several with context.task_all or context.task_any."
    )
