"""A database that an older bide wrote is brought up to date, with what is in it."""

import sqlite3
from contextlib import closing
from importlib import resources

from bide.store import SqliteStore
from bide.store.sqlite import upgrade
from bide.store.sqlite.connection import APPLICATION_ID


def write_first_schema(path):
    migrations = resources.files("bide.store.sqlite") / "migrations"
    with closing(sqlite3.connect(path)) as old, old:
        old.executescript((migrations / "0001_initial.sql").read_text())
        old.execute("UPDATE meta SET last_iid = 7")
        old.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")


async def test_the_first_schema_gets_queues_and_settings(tmp_path):
    """On opening; what was there stays."""
    path = tmp_path / "old.db"
    write_first_schema(path)
    store = SqliteStore(path)
    await store.open()
    try:
        assert store.new_iid("i") == 8
        await store.enqueue("q", "x", visible_at=1)
        assert await store.queue_lengths() == {"q": 1}
    finally:
        await store.close()
    assert upgrade(path) == (2, 2)
