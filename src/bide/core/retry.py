"""Trying a failed activity or sub-orchestration again, as the rules of DurableTask.Core's RetryInterceptor say.

Attempts and delays are ordinary tasks and timers in the history, so a retry survives a restart, and the clock that
decides is that of the history.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bide.core.tasks import ActivityTask, Task
from bide.errors import InvalidInputError, TaskFailedError
from bide.model.clock import span_micros

if TYPE_CHECKING:
    from bide.core.execution import Execution


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """When, and how often, to try again.

    `first_retry_interval`: pause before the second attempt, greater than zero. `max_number_of_attempts`: all of them, the first
    included; 1 is "no retry". Pause n is `first_retry_interval * backoff_coefficient ** (n - 1)`, at most `max_retry_interval`.
    No attempt is begun when `retry_timeout` has passed since the first one failed to start the pause. `handle` is
    asked with the error whether to go on; when it raises itself, that counts as no.
    """

    first_retry_interval: timedelta
    max_number_of_attempts: int
    backoff_coefficient: float = 1.0
    max_retry_interval: timedelta | None = None
    retry_timeout: timedelta | None = None
    handle: Callable[[TaskFailedError], bool] | None = None

    def __post_init__(self) -> None:
        if self.first_retry_interval <= timedelta(0):
            raise InvalidInputError(f"first_retry_interval must be greater than zero, not {self.first_retry_interval}")
        if self.max_number_of_attempts < 1:
            raise InvalidInputError(f"max_number_of_attempts must be 1 or more, not {self.max_number_of_attempts}")

    def delay_after(self, attempt: int) -> int:
        """Microseconds to pause after the failure of `attempt`, which counts from 1."""
        first, cap = span_micros(self.first_retry_interval), self.max_retry_interval
        try:
            delay = first * self.backoff_coefficient ** (attempt - 1)
        except OverflowError:
            delay = float("inf")
        longest = span_micros(cap if cap is not None else timedelta.max)
        return int(min(delay, longest))

    def allows(self, error: TaskFailedError, attempt: int, elapsed: int) -> bool:
        """Whether to try again after `attempt` (from 1) failed with `error`, `elapsed` microseconds after the start."""
        if error.is_non_retriable or attempt >= self.max_number_of_attempts:
            return False
        if self.retry_timeout is not None and elapsed >= span_micros(self.retry_timeout):
            return False
        try:
            return self.handle is None or bool(self.handle(error))
        except Exception:  # noqa: BLE001  (Core: a handler that throws means "do not retry", and the first error stands)
            return False


class RetryTask(Task[Any]):
    """A task that is begun again, after a pause, for as long as `options` allow."""

    __slots__ = ("_attempt", "_begin", "_execution", "_first_at", "_options", "current")

    def __init__(self, execution: "Execution", begin: Callable[[], ActivityTask[Any]], options: RetryOptions) -> None:
        super().__init__(execution)
        self._execution = execution
        self._begin = begin
        self._options = options
        self._attempt = 0
        self._first_at = execution.now
        self._try()

    def __repr__(self) -> str:
        return f"<{self.current!r}, attempt {self._attempt}>"

    def failed_parts(self) -> Iterable[ActivityTask[Any]]:
        return self.current.failed_parts()

    def _try(self) -> None:
        self._attempt += 1
        self.current = self._begin()
        self.current._parents.append(self)

    def _child_done(self, child: Task[Any]) -> None:
        error = child._error
        if child is not self.current:
            self._try()  # the pause is over
        elif error is None:
            self._complete(child._value)
        elif isinstance(error, TaskFailedError) and self._allows(error):
            pause = self._options.delay_after(self._attempt)
            self._execution.start_timer(self._execution.now + pause)._parents.append(self)
        else:
            self._fail(error)

    def _allows(self, error: TaskFailedError) -> bool:
        return self._options.allows(error, self._attempt, self._execution.now - self._first_at)
