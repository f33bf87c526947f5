"""The store under torture, as seen from outside while nobody has it open."""

import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bide.core.invariants import problems
from bide.store.sqlite import check, upgrade

_TO_TAKE_UP = "SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM instances WHERE is_active)"


@dataclass(frozen=True)
class Left:
    """What a hub has left behind: what is wrong with it, and how much the next one has to take up."""

    violations: list[str] = field(default_factory=list)
    messages: int = 0
    active: int = 0


class StoreUnderTest(Protocol):
    """What the driver needs of a store besides its URL."""

    url: str

    def check(self) -> Left:
        """Look at all of it. Changes nothing: the next hub must find what the last one left."""
        ...

    def downgrade(self) -> None:
        """Give it the first schema again, as if an old version had written what is in it."""
        ...

    def leftovers(self) -> list[str]:
        """What should not be there after an orderly close."""
        ...

    def keep(self, folder: Path) -> None:
        """Copy it into a folder, for whoever looks for the reason of a violation."""
        ...


class SqliteFiles:
    """A database file and its log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    @property
    def _log(self) -> Path:
        return Path(f"{self.path}-wal")

    def check(self) -> Left:
        """Check a copy: opening the files themselves would do what the next hub is there to do."""
        if not self.path.exists():
            return Left()
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            self.keep(Path(folder))
            copy = Path(folder) / self.path.name
            upgrade(copy)  # whoever died in a migration has left the old schema
            report = check(copy, problems)
            with closing(sqlite3.connect(copy)) as database:
                [(messages, active)] = database.execute(_TO_TAKE_UP)
        return Left([f"{each.table}: {each.key}: {each.problem}" for each in report.violations], messages, active)

    def downgrade(self) -> None:
        """Undo the second migration; nothing in the torture uses its tables."""
        if not self.path.exists():
            return
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            database.executescript(
                "BEGIN; DROP TABLE IF EXISTS queue_messages; DROP TABLE IF EXISTS settings; PRAGMA user_version = 1; COMMIT;"
            )

    def leftovers(self) -> list[str]:
        size = self._log.stat().st_size if self._log.exists() else 0
        return [f"the log has {size} bytes"] if size else []

    def keep(self, folder: Path) -> None:
        for file in (self.path, self._log):
            if file.exists():
                shutil.copy(file, folder)


def store_at(url: str) -> StoreUnderTest:
    """The store that a URL names. Another kind of store needs another class here, and points of its own to die at."""
    if not url.startswith("sqlite:///"):
        sys.exit(f"{url} cannot be put under torture yet, only sqlite:///file.db.")
    return SqliteFiles(Path(url.removeprefix("sqlite:///")).absolute())
