"""What is left of a batch's commits when those that undo each other are taken out, by table."""

from collections.abc import Iterable
from typing import Any

from bide.model.commit import Commit, Turn
from bide.model.instance import DeadLetter, InstanceRow, Wait


class Changes:
    """The net effect of commits. What is `purged`, `cleared` and closed goes before what is new comes."""

    def __init__(self, commits: Iterable[Commit]) -> None:
        self.purged: list[int] = []
        self.inserted: dict[int, InstanceRow] = {}
        self.updated: dict[int, InstanceRow] = {}
        self.cleared: dict[int, int] = {}
        self.turns: dict[tuple[int, int], Turn] = {}
        self.closed_all: set[int] = set()
        self.closed: dict[tuple[int, int], None] = {}
        self.opened: dict[tuple[int, int], Wait] = {}
        self.event_ids: dict[tuple[int, str], None] = {}
        self.dead_letters: list[DeadLetter] = []
        self.last_iid = 0
        for commit in commits:
            self._add(commit)

    def _add(self, commit: Commit) -> None:
        self.dead_letters.extend(commit.dead_letters)
        if commit.purge:
            self._purge(commit.iid)
            return
        self._add_row(commit)
        self._add_waits(commit)
        for event_id in commit.event_ids:
            self.event_ids[commit.iid, event_id] = None

    def _add_row(self, commit: Commit) -> None:
        iid = commit.iid
        if commit.insert is not None:
            self.inserted[iid] = commit.insert
            self.last_iid = max(self.last_iid, iid)
        elif commit.update is not None:
            (self.inserted if iid in self.inserted else self.updated)[iid] = commit.update
        if commit.turn is not None:
            if commit.clear_history:
                self._drop(self.turns, iid)
                self.cleared[iid] = commit.turn.seq
            self.turns[iid, commit.turn.seq] = commit.turn

    def _add_waits(self, commit: Commit) -> None:
        iid = commit.iid
        if commit.waits_closed is None or commit.clear_history:
            self._drop(self.opened, iid)
            self.closed_all.add(iid)
        else:
            for number in commit.waits_closed:
                if self.opened.pop((iid, number), None) is None:
                    self.closed[iid, number] = None
        for wait in commit.waits_opened:
            self.opened[iid, wait.number] = wait

    def _purge(self, iid: int) -> None:
        self.purged.append(iid)
        self.inserted.pop(iid, None)
        self.updated.pop(iid, None)
        self.cleared.pop(iid, None)
        self._drop(self.turns, iid)
        self._drop(self.opened, iid)
        self._drop(self.event_ids, iid)

    @staticmethod
    def _drop(table: dict[tuple[int, Any], Any], iid: int) -> None:
        for key in [key for key in table if key[0] == iid]:
            del table[key]
