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


class Batch(msgspec.Struct, kw_only=True):
    """Everything that one transaction writes.

    `commits` are in the order in which they happened; one instance may appear several times. `inbox_added`
    are messages between instances that this transaction's turns sent and that no turn of it has handled yet,
    keyed by a number that grows; `inbox_removed` are the keys of messages that its turns have handled.
    """

    commits: list[Commit] = []
    inbox_added: list[tuple[int, bytes]] = []
    inbox_removed: list[int] = []
