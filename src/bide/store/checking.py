"""What a check of a store says, and rules about values that hold on every store."""

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from bide.model.codec import decode_turn
from bide.model.commit import Turn
from bide.model.events import EventRaised, HistoryEvent
from bide.model.instance import InstanceRow
from bide.model.messages import decode_message
from bide.model.names import event_key

ReadTurn = tuple[Turn, list[HistoryEvent]]


class Violation(msgspec.Struct, frozen=True):
    """`key` names the row by its primary key; `problem` says what it should be."""

    table: str
    key: str
    problem: str


class Report(msgspec.Struct, frozen=True):
    """How many instances there are, and what is wrong; nothing, in a sound store."""

    instances: int
    violations: list[Violation]


Judge = Callable[[InstanceRow, Sequence[tuple[Turn, Sequence[HistoryEvent]]]], Iterable[tuple[str, str]]]
"""Tells in which table an instance is wrong, and what it should be; `bide.core.invariants` has ours."""

NO_INSTANCE = "should belong to an instance, and there is none with this iid"
NOT_LIVE = "should belong to a live orchestration"


def check_wait(key: object, name: object) -> Iterable[str]:
    """The key of a wait is its name without case. Databases cannot fold names as Python does."""
    if key != event_key(str(name)):
        yield f"key is {key!r}, should be {event_key(str(name))!r}"


def check_message(data: bytes) -> Iterable[str]:
    """A message in the inbox can be read."""
    try:
        decode_message(data)
    except msgspec.DecodeError as error:
        yield f"should be an encoded message: {error}"


def read_turns(turns: Iterable[Turn], into: list[ReadTurn]) -> Iterable[tuple[int, str]]:
    """Read turns; the number of each that cannot be read, and what it should be."""
    for turn in turns:
        try:
            into.append((turn, decode_turn(turn.data)))
        except msgspec.DecodeError as error:
            yield turn.seq, f"data should be an encoded list of events: {error}"


def forgotten_ids(
    turns: Iterable[ReadTurn], known: Collection[str], stored: Callable[[str], str] = str
) -> Iterable[str]:
    """An event whose id is not remembered could be accepted a second time. `stored` makes of an id what the store keeps."""
    ids = {event.event_id for _, events in turns for event in events if isinstance(event, EventRaised)} - {None}
    for event_id in sorted(each for each in filter(None, ids) if stored(each) not in known):
        yield f"should have {event_id!r}, the id of an event in the history"
