"""A database that an older bide wrote is brought up to date, with what is in it."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from importlib import resources
from pathlib import Path

import pytest
from tests.store.old.flows import app

import bide
from bide import OrchestrationRuntimeStatus as Status
from bide.core.invariants import problems
from bide.model.clock import SECOND
from bide.store import SqliteStore
from bide.store.sqlite import check, upgrade
from bide.store.sqlite.connection import APPLICATION_ID
from bide.testing import Harness

WRITTEN_AT = 1_795_658_700 * SECOND
"""A little after the old store was written."""


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


@pytest.fixture
def old_store(tmp_path):
    """A store that bide left behind, by dying, when schema 1 was the newest; see tests/store/old/flows.py."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript((Path(__file__).parent / "old" / "schema_1.sql").read_text())
        assert old.execute("PRAGMA user_version").fetchone() == (1,)
    return path


async def test_what_was_under_way_in_an_old_store_goes_on(old_store):
    """Waits, buffered and held events, ids, timers, activities, children, entities, locks: all end as they would have then."""
    harness = Harness(app, SqliteStore(old_store))
    harness.clock.move_to(WRITTEN_AT)
    async with harness:
        client = harness.client

        async def output(instance_id):
            return (await client.wait_for_completion(instance_id, timeout=20)).output

        assert await output("ended") == [8]
        assert await output("charged") == "paid, after all"
        assert (await client.get_status("suspended")).runtime_status is Status.SUSPENDED
        await client.resume("suspended")
        assert (await client.raise_event("waits", "n", 2, event_id="id-2")).is_duplicate
        assert not (await client.raise_event("waits", "n", 3, event_id="id-3")).is_duplicate
        for name in ("waits", "suspended"):
            await client.raise_event(name, "n", "stop")
            assert await output(name) == [0, 1, 2, 3]
        letters = [(letter.instance_id, letter.data) for letter in (await client.dead_letters()).items]
        assert sorted(letters) == [("ended", 1), ("suspended", "kept"), ("waits", "kept")]
        await client.raise_event("family-child", "Decision", "yes")
        assert await output("family") == ["the child says", "yes"]
        await client.raise_event("holder", "Go")
        assert await output("holder") == [1, 2]
        await client.raise_event("later", "Decision", "in time")
        await harness.advance(timedelta(days=3))
        assert await output("overdue") == "escalated"
        assert (await client.get_entity("@counter@locked")).state == 102
        assert (await client.get_entity("@counter@free")).state == 12
        assert (await client.get_status("later")).runtime_status is Status.PENDING
        await harness.advance(timedelta(days=30))
        assert await output("later") == "in time"
    report = check(old_store, problems)
    assert report.violations == []
    assert report.instances == 11


async def test_an_upgrade_that_fails_changes_nothing(old_store, monkeypatch):
    """It is one transaction: the old bide, or a mended one, can open the store afterwards. (Dying in it is under torture.)"""
    steps = [(resources.files("bide.store.sqlite") / "migrations" / "0001_initial.sql").read_text("utf-8")]
    steps.append("CREATE TABLE new (x); INSERT INTO new VALUES (1); INSERT INTO nowhere VALUES (1);")
    with closing(sqlite3.connect(old_store)) as database:
        before = list(database.iterdump())
    monkeypatch.setattr("bide.store.sqlite.connection._migrations", lambda: steps)
    with pytest.raises(bide.StoreError):
        upgrade(old_store)
    monkeypatch.undo()
    with closing(sqlite3.connect(old_store)) as database:
        assert list(database.iterdump()) == before
    assert upgrade(old_store) == (1, 2)
