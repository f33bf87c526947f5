"""The embedded store: one SQLite file, one owning process, one writer thread.

`store`, `queues` and `settings` have the verbs, on top of `access`; `batch` turns a `Batch` into few SQL statements; `writer` is
the thread that runs them; `connection` opens files and tells driver errors apart; `ownership` keeps a second process
out; `migrations` holds the schema; `check` proves that a file agrees with itself.
"""

from bide.store.sqlite.check import check
from bide.store.sqlite.connection import upgrade
from bide.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "check", "upgrade"]
