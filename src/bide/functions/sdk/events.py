"""History events as the Durable Functions extension writes them for SDK 1.x: numbers, and fields by their wire names.

The SDK's constructor parses a time with dateutil, which takes longer than all the rest of a turn. So one event is made by it
and the others are copies of that.
"""

from datetime import UTC, datetime
from enum import IntEnum
from functools import cache
from typing import Any

from bide.functions.sdk.package import load
from bide.model.codec import iso_time

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class Kind(IntEnum):
    """`EventType`: the numbers of DurableTask.Core."""

    EXECUTION_STARTED = 0
    TASK_COMPLETED = 5
    TASK_FAILED = 6
    CHILD_COMPLETED = 8
    CHILD_FAILED = 9
    TIMER_FIRED = 11
    ORCHESTRATOR_STARTED = 12
    EVENT_RAISED = 15


def wire(kind: Kind, at: datetime, **fields: Any) -> dict[str, Any]:
    """Make an event as JSON has it."""
    return {"EventType": int(kind), "EventId": -1, "IsPlayed": False, "Timestamp": iso_time(at), **fields}


def make(kind: Kind, at: datetime, *, is_played: bool, **fields: Any) -> Any:
    """Make an event as the SDK has it."""
    event = object.__new__(load().event)
    vars(event).update(_template(), _event_type=int(kind), _is_played=is_played, _timestamp=at, **fields)
    return event


@cache
def _template() -> dict[str, Any]:
    return dict(vars(load().event(**wire(Kind.ORCHESTRATOR_STARTED, _ANY_TIME))))
