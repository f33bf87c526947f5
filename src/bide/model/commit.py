"""What one turn of one instance changes in the store, as a value.

`core.turn` makes a `Commit`; the partition gathers them into a `Batch`; a store writes the batch in one
transaction and does not interpret it.
"""

import msgspec

from bide.model.instance import DeadLetter, InstanceRow, Wait


class Turn(msgspec.Struct, frozen=True, gc=False):
    """One row of history: `data` is the encoded list of events, `seq` counts the instance's turns from 0."""

    seq: int
    at: int
    data: bytes


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of one turn.

    Applied in this order: `purge` removes everything stored under the iid (instance, history, waits, event ids;
    dead letters stay), and then nothing else is set; `insert` adds the row; `update` replaces the mutable
    columns of the row; `clear_history` removes the turns before `turn`; `turn` is appended; the waits
    whose numbers are in `waits_closed` go (all of the instance's when `clear_history` is set or `waits_closed`
    is None), those in `waits_opened` come; `event_ids` are remembered; `dead_letters` recorded.

    A commit for an event to an unknown instance has `iid` 0 and only dead letters.
    """

    iid: int
    insert: InstanceRow | None = None
    update: InstanceRow | None = None
    turn: Turn | None = None
    clear_history: bool = False
    waits_opened: tuple[Wait, ...] = ()
    waits_closed: tuple[int, ...] | None = ()
    event_ids: tuple[str, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    purge: bool = False


class Posted(msgspec.Struct, frozen=True, gc=False):
    """A message that is stored until a turn has handled it; `key` is unique and grows. `partition` is its receiver's."""

    partition: int
    key: int
    data: bytes


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a node is told that has asked for something in the name of its caller; `data` is JSON. Not stored."""

    node: int
    request: int
    data: str


class ActivityKey(msgspec.Struct, frozen=True, gc=False):
    """Names an activity that any node may run: its instance, by iid, the execution, and its number there."""

    iid: int
    execution_id: str
    task_id: int


class OfferedActivity(msgspec.Struct, frozen=True, gc=False):
    """An activity that any node may run. `data` is the encoded `TaskScheduled`."""

    key: ActivityKey
    instance_id: str
    name: str
    data: bytes


class Batch(msgspec.Struct, kw_only=True):
    """Everything that one transaction writes.

    `commits` are in the order in which they happened; one instance may appear several times. `inbox_added`
    are messages between instances that this transaction's turns sent and that no turn of it has handled yet;
    `inbox_removed` are partition and key of messages that its turns have handled.

    The rest is for stores that several nodes share. `replies` are passed on when the transaction is durable.
    `activities_added` may be claimed by any node from then on; `activities_removed` have ended.
    """

    commits: list[Commit] = []
    inbox_added: list[Posted] = []
    inbox_removed: list[tuple[int, int]] = []
    replies: list[Reply] = []
    activities_added: list[OfferedActivity] = []
    activities_removed: list[ActivityKey] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write or to pass on."""
        return not (
            self.commits
            or self.inbox_added
            or self.inbox_removed
            or self.replies
            or self.activities_added
            or self.activities_removed
        )
