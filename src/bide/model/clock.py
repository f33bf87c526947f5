"""Time as the engine keeps it: whole microseconds since 1970-01-01 UTC.

An integer compares and subtracts exactly, and is what both stores hold. `datetime` stands at the public
edges only. Reading the time is the runtime's business: it passes `now` into everything else.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from bide.errors import InvalidInputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000


LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""The last moment that a datetime can say, in the year 9999; what is later comes then."""


class TimerHandle(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Where the engine gets its time from; the testing kit has one that a test moves by hand."""

    def now(self) -> int:
        """Microseconds since 1970-01-01 UTC. May jump, when somebody sets the machine's clock."""
        ...

    def call_at(self, when: int, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` in the event loop at `when` or a little later, never earlier."""
        ...


def to_micros(value: datetime) -> int:
    """Microseconds since the epoch. A naive datetime counts as UTC, as in Durable Functions."""
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def time_micros(value: datetime | timedelta, now: int) -> int:
    """Microseconds since the epoch of a time, or of a span from `now`; `LATEST` at the most.

    Raises `InvalidInputError` for anything else.
    """
    if isinstance(value, timedelta):
        return min(now + span_micros(value), LATEST)
    if not isinstance(value, datetime):
        raise InvalidInputError(f"A time must be a datetime or a timedelta, not {value!r}.")
    return min(to_micros(value), LATEST)  # a zone may move the last hours of 9999 past it


def to_datetime(micros: int) -> datetime:
    """Turn microseconds since the epoch into an aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=micros)


def span_micros(value: timedelta | float) -> int:
    """Length of a time span in microseconds; a plain number counts as seconds."""
    span = value if isinstance(value, timedelta) else timedelta(seconds=value)
    return span // _MICROSECOND
