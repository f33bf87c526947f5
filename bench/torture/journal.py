"""What was asked of bide and what it answered, written down outside of the process that is killed.

A line is written before anything is asked, and another one when it is answered; what has no answer may or may not have
happened. The file is only appended to.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    """With an error that says that nothing was done."""
    LOST = "lost"
    """Nobody answered, and it was not asked again: it may have happened."""


@dataclass
class Deed:
    """One request, and what came of it. `outcome` is None while it is under way, `tries` how often it was sent."""

    story: str
    number: int
    verb: str
    target: str
    what: Any = None
    tries: int = 0
    outcome: Outcome | None = None
    answer: Any = None


@dataclass
class Story:
    """Some instances and entities that are used together, and what was asked of them, in order."""

    name: str
    kind: str
    instances: list[str] = field(default_factory=list)
    entities: list[str] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)

    def done(self, *verbs: str) -> Iterator[Deed]:
        """The deeds of these kinds, in the order in which they were asked for."""
        return (deed for deed in self.deeds if deed.verb in verbs)


class Journal:
    """Appends to a file; a new one begins with the seed and the like."""

    def __init__(self, path: Path, **about: Any) -> None:
        self._file = path.open("a", buffering=1)
        self.accepted = self.lost = 0
        self._write("begin", about)

    def ask(self, deed: Deed) -> None:
        self._write("ask", asdict(deed))

    def settle(self, deed: Deed, outcome: Outcome, answer: Any = None) -> None:
        deed.outcome, deed.answer = outcome, answer
        self.accepted += outcome is Outcome.ACCEPTED
        self.lost += outcome is Outcome.LOST
        self._write("answer", [deed.story, deed.number, outcome, answer])

    def note(self, what: str, about: Any) -> None:
        """Write down what else happened, such as a death or what was seen of an instance."""
        self._write(what, about)

    def close(self) -> None:
        self._file.close()

    def _write(self, what: str, about: Any) -> None:
        self._file.write(json.dumps({what: about}) + "\n")
