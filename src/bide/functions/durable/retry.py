"""Retry settings in the SDK's two forms: `RetryOptions` (1.x) and `RetryPolicy` (2.x)."""

from datetime import timedelta
from typing import Any

from bide.core.retry import RetryOptions as EngineRetryOptions


class RetryOptions:
    """Try again after `first_retry_interval_in_milliseconds`, at most `max_number_of_attempts` times in all."""

    def __init__(self, first_retry_interval_in_milliseconds: int, max_number_of_attempts: int) -> None:
        if first_retry_interval_in_milliseconds <= 0:
            raise ValueError("first_retry_interval_in_milliseconds value must be greater than 0.")
        self._first_retry_interval_in_milliseconds = first_retry_interval_in_milliseconds
        self._max_number_of_attempts = max_number_of_attempts

    @property
    def first_retry_interval_in_milliseconds(self) -> int:
        return self._first_retry_interval_in_milliseconds

    @property
    def max_number_of_attempts(self) -> int:
        return self._max_number_of_attempts

    def to_json(self) -> dict[str, Any]:
        return {
            "firstRetryIntervalInMilliseconds": self._first_retry_interval_in_milliseconds,
            "maxNumberOfAttempts": self._max_number_of_attempts,
        }


class RetryPolicy:
    """Try again with growing pauses; the fields are those of `bide.RetryOptions`."""

    def __init__(
        self,
        *,
        first_retry_interval: timedelta,
        max_number_of_attempts: int,
        backoff_coefficient: float | None = 1.0,
        max_retry_interval: timedelta | None = None,
        retry_timeout: timedelta | None = None,
    ) -> None:
        self.first_retry_interval = first_retry_interval
        self.max_number_of_attempts = max_number_of_attempts
        self.backoff_coefficient = backoff_coefficient
        self.max_retry_interval = max_retry_interval
        self.retry_timeout = retry_timeout


def engine_options(options: Any) -> EngineRetryOptions:
    """Translate either form. Raises `TypeError` for anything else."""
    if isinstance(options, RetryOptions):
        return EngineRetryOptions(
            first_retry_interval=timedelta(milliseconds=options.first_retry_interval_in_milliseconds),
            max_number_of_attempts=options.max_number_of_attempts,
        )
    if isinstance(options, RetryPolicy):
        return EngineRetryOptions(
            first_retry_interval=options.first_retry_interval,
            max_number_of_attempts=options.max_number_of_attempts,
            backoff_coefficient=options.backoff_coefficient or 1.0,
            max_retry_interval=options.max_retry_interval,
            retry_timeout=options.retry_timeout,
        )
    if isinstance(options, EngineRetryOptions):
        return options
    raise TypeError(f"retry_options must be RetryOptions or RetryPolicy, not {type(options).__name__}")
