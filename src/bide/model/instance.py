"""What is known about an instance outside its history: its row, its waits, its dead letters."""

from enum import IntEnum, StrEnum

import msgspec

from bide.model.failure import FailureDetails


class OrchestrationRuntimeStatus(IntEnum):
    """Runtime status, numbered as in DurableTask.Core's `OrchestrationStatus`.

    `CONTINUED_AS_NEW` and `CANCELED` are never stored by bide: an instance that continues as new is
    `RUNNING`. They exist because filters may name them.
    """

    RUNNING = 0
    COMPLETED = 1
    CONTINUED_AS_NEW = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    PENDING = 6
    SUSPENDED = 7

    @property
    def label(self) -> str:
        """The spelling of the HTTP API, such as `Running` or `ContinuedAsNew`."""
        return self.name.title().replace("_", "")

    @property
    def is_ended(self) -> bool:
        """Whether nothing happens to the instance any more, unless it is rewound or restarted."""
        return self in ENDED

    @classmethod
    def from_label(cls, label: str) -> "OrchestrationRuntimeStatus":
        """Read `Running`, `running` or `CONTINUED_AS_NEW`; `ValueError` for anything else."""
        folded = label.replace("_", "").casefold()
        for status in cls:
            if status.label.casefold() == folded:
                return status
        raise ValueError(f"{label!r} is not a runtime status; use one of {', '.join(s.label for s in cls)}")


_S = OrchestrationRuntimeStatus
ENDED = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELED, _S.TERMINATED})


class IdReusePolicy(StrEnum):
    """What `start_new` does when the instance id is taken (Durable Functions: OverridableExistingInstanceStates)."""

    REPLACE_ENDED = "replace-ended"
    """Replace an instance that has ended, refuse a live one. The default."""
    REPLACE_ANY = "replace-any"
    """Replace whatever is there; a live instance is dropped with everything it waits for."""
    REJECT = "reject"
    """Refuse as long as a row with this id exists."""
    KEEP = "keep"
    """Leave a live instance as it is and answer as if it had just been started; replace an ended one."""


class Wait(msgspec.Struct, frozen=True, gc=False):
    """A wait for an external event that an orchestrator is blocked on.

    `number` counts the waits of one execution. `since` and `deadline` are microseconds; `type` is the
    payload type as the code spells it.
    """

    instance_id: str
    number: int
    name: str
    since: int
    deadline: int | None = None
    type: str | None = None


class DeadLetterReason(StrEnum):
    """Why an event will never be consumed."""

    UNKNOWN_INSTANCE = "unknown-instance"
    UNKNOWN_ENTITY = "unknown-entity"
    """A signal to an entity whose name is not registered."""
    INSTANCE_ENDED = "instance-ended"
    """It arrived after the instance had ended."""
    UNCONSUMED = "unconsumed"
    """It was accepted and buffered, and the instance ended without asking for it."""
    DISCARDED = "discarded"
    """`continue_as_new(preserve_unprocessed_events=False)` dropped it, or the instance was replaced."""


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """An event that was not, and will not be, consumed. `raised_at` and `recorded_at` are microseconds."""

    instance_id: str
    name: str
    input: str | None
    event_id: str | None
    raised_at: int
    recorded_at: int
    reason: DeadLetterReason


class InstanceRow(msgspec.Struct, gc=False):
    """One row of `instances`: what can be asked about an instance without reading its history.

    `iid` is the integer by which the store joins; it grows with creation time and is never reused, and an
    instance that replaces another of the same id has a new one. The input is not here: it stands in the
    history's `ExecutionStarted`. Times are microseconds. `buffered` counts the accepted, not yet consumed
    events by name, `None` when there are none.
    """

    iid: int
    instance_id: str
    name: str
    status: OrchestrationRuntimeStatus
    created_at: int
    execution_id: str
    generation: int = 0
    version: str | None = None
    parent_instance_id: str | None = None
    tags: dict[str, str] | None = None
    start_at: int | None = None
    """When a Pending instance is to start."""
    ended_at: int | None = None
    next_timer_at: int | None = None
    """The earliest of its open timers, or `start_at` while Pending; `None` when there is none."""
    is_active: bool = False
    """Something is outstanding besides events and timers: the instance must be loaded after a crash."""
    output: str | None = None
    custom_status: str | None = None
    failure: FailureDetails | None = None
    buffered: dict[str, int] | None = None
