"""What a turn of an instance, or of an entity, leads to."""

from collections.abc import Sequence

from bide.model.commit import Commit
from bide.model.entities import EntityBatch
from bide.model.events import TaskScheduled
from bide.model.messages import AnyMessage

Job = TaskScheduled | EntityBatch
"""User code to be run outside of the turn, at least once."""


class TurnResult:
    """A commit, and what may happen once it is durable."""

    __slots__ = ("commit", "has_ended", "jobs", "outbox")

    def __init__(self, commit: Commit, jobs: Sequence[Job], outbox: list[AnyMessage], *, has_ended: bool) -> None:
        self.commit = commit
        self.jobs = jobs
        self.outbox = outbox
        self.has_ended = has_ended
