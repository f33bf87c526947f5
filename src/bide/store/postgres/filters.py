"""Turns an `InstanceFilter` into SQL that finds the newest first, quickly, whether much or little meets it.

What few rows meet is found by its index, and then sorted; what many meet is found sooner by looking through the newest. The
planner's statistics do not tell the two apart well enough, so whoever asks counts up to a bound first.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from bide.model.names import event_key
from bide.store.base import InstanceFilter

UPDATED_AT = "(SELECT at FROM history WHERE partition = i.partition AND iid = i.iid ORDER BY seq DESC LIMIT 1)"
"""The time of an instance's last turn."""

_IS_ENTITY = "(i.id >= '@' AND i.id < 'A')"
_LAST = "\U0010ffff"
"""Sorts after every character that an id may have."""


class Choice(msgspec.Struct, frozen=True):
    """A condition that an index answers, in three ways, all with the same `values`.

    `index` is about rows of `table`, for counting; `few` is for instances `i` when the index finds few, `many` keeps PostgreSQL
    from using it.
    """

    table: str
    index: str
    few: str
    many: str
    values: tuple[Any, ...]


def choices_of(where: InstanceFilter) -> list[Choice]:
    """Conditions that need to be counted first."""
    choices: list[Choice] = []
    if where.id_prefix is not None:
        condition = "i.id >= ? AND i.id < ?"
        choices.append(
            Choice(
                "instances AS i",
                condition,
                condition,
                "i.id || '' >= ? AND i.id || '' < ?",
                (where.id_prefix, where.id_prefix + _LAST),
            )
        )
    if where.waiting_for is not None:
        choices.append(
            Choice(
                "waits",
                "key = ?",
                "(i.partition, i.iid) IN (SELECT partition, iid FROM waits WHERE key = ?)",
                # A count is never turned into a join of the two tables, as EXISTS is.
                "(SELECT count(*) FROM waits WHERE partition = i.partition AND iid = i.iid AND key || '' = ?) > 0",
                (event_key(where.waiting_for),),
            )
        )
    if where.ended_before is not None:
        choices.append(
            Choice("instances", "ended_at < ?", "i.ended_at < ?", "i.ended_at + 0 < ?", (where.ended_before,))
        )
    return choices


class Conditions:
    """SQL conditions joined by "and", and their values: `?` stands for one."""

    def __init__(self) -> None:
        self._conditions = ["true"]
        self._are_few = False
        self.values: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        for value in values:
            self.values.append(value)
            condition = condition.replace("?", f"${len(self.values)}", 1)
        self._conditions.append(condition)

    def choose(self, choice: Choice, *, are_few: bool) -> None:
        self.add(choice.few if are_few else choice.many, *choice.values)
        self._are_few |= are_few

    def __str__(self) -> str:
        return " AND ".join(self._conditions)

    def page(self, statuses: Iterable[int] | None, limit: int) -> str:
        """SQL for the keys of the newest instances."""
        order = f"ORDER BY i.created_at DESC, i.iid DESC LIMIT {limit:d}"
        one = f"SELECT i.partition, i.iid, i.created_at FROM instances AS i WHERE {self}"
        among = "true" if statuses is None else f"i.status IN ({', '.join(f'{each:d}' for each in statuses) or 'NULL'})"
        if self._are_few:  # OFFSET lets the planner forget that not all of them are wanted
            return f"SELECT * FROM ({one} AND {among} OFFSET 0) AS i {order}"
        if statuses is None:
            return f"{one} {order}"
        each = [
            f"({one} AND i.status = {status:d} {order})" for status in statuses
        ]  # only so has an index them in order
        return f"SELECT * FROM ({' UNION ALL '.join(each) or f'{one} AND false'}) AS i {order}"


def conditions_of(where: InstanceFilter) -> Conditions:
    """All conditions but the statuses and those of `choices_of`."""
    found = Conditions()
    found.add(_IS_ENTITY if where.entities else f"NOT {_IS_ENTITY}")
    if where.created_from is not None:
        found.add("i.created_at >= ?", where.created_from)
    if where.created_to is not None:
        found.add("i.created_at <= ?", where.created_to)
    if where.updated_from is not None:
        found.add(f"{UPDATED_AT} >= ?", where.updated_from)
    if where.updated_to is not None:
        found.add(f"{UPDATED_AT} <= ?", where.updated_to)
    if where.name is not None:
        found.add("i.name = ?", where.name)
    return found
