"""`db copy`: everything is there afterwards, as it was, and nothing half-copied."""

import asyncio
import itertools
import json
import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace
from tests.store.test_sqlite_check import live

import bide
from bide.cli import run
from bide.core.invariants import problems
from bide.model.commit import Commit, Posted
from bide.model.messages import RaiseEvent, TaskDone, decode_message, encode_message
from bide.store import SqliteStore, maintenance
from bide.store.base import InstanceFilter
from bide.store.postgres import PostgresStore
from bide.testing.store_suite.fixtures import opened, write

STEPS = [
    *[("start", each) for each in ("run", "end", "fail", "timer", "lock")],
    ("later", "later"),
    ("other", "run"),
    ("order", "end", "end"),
    ("order", "fail", "fail"),
    ("order", "timer", "timer"),
    ("order", "run", "status"),
    ("order", "run", "child"),
    ("entity", "a"),
    ("queue", True),
    ("queue", False),
    ("order", "end", "late"),
]


async def add_messages(path):
    """What a hub that was killed leaves behind: a message for an instance as it was, and one for whoever has the id."""
    async with opened(lambda: SqliteStore(path)) as store:
        [loaded] = await store.load(["run"])
        messages = [
            TaskDone(instance_id="run", iid=loaded.row.iid, execution_id="e", task_id=1, reply_to=(3, 4)),
            TaskDone(instance_id="gone", iid=77, execution_id="e", task_id=1),
            RaiseEvent(instance_id="run", name="Order", input='"end"'),
        ]
        posted = [Posted(0, key, encode_message(each)) for key, each in enumerate(messages, 10)]
        await write(store, inbox_added=posted)
        await store.put_setting("keys/default", "secret")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A file with some of everything."""
    path = tmp_path_factory.mktemp("copy") / "source.db"
    asyncio.run(live(path, STEPS, keeps=True))
    asyncio.run(add_messages(path))
    return f"sqlite:///{path}"


def copied(source, target):
    """Copy, and check what has come of it; the number of rows by table."""
    counts = asyncio.run(maintenance.copy(source, target, lambda done, total: None))
    assert asyncio.run(maintenance.check(target, problems)).violations == []
    return counts


def file_contents(url):
    """All rows of a file, without iids."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        columns = {
            table: [
                row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] not in {"iid", "taken_at"}
            ]
            for table in ("instances", "history", "waits", "event_ids", "dead_letters", "queue_messages", "settings")
        }
        contents = {}
        for table, names in columns.items():
            owner = "i.id" if table in {"history", "waits", "event_ids"} else "1"
            join = "JOIN instances AS i USING (iid)" if owner != "1" else ""
            sql = f"SELECT {owner}, {', '.join(f't.{name}' for name in names)} FROM {table} AS t {join}"
            contents[table] = sorted(database.execute(sql), key=repr)
        contents["inbox"] = [
            decode_message(data) for (data,) in database.execute("SELECT data FROM inbox ORDER BY key")
        ]
    return contents


def test_there_and_back_again(source, postgres, schema, tmp_path):
    """A file into a database, into another one with more partitions, and back into a file: it holds the same."""
    urls = [
        source,
        postgres.url(schema, partitions=3),
        postgres.url(f"{schema}_b", partitions=16),
        f"sqlite:///{tmp_path}/back.db",
    ]
    counts = [copied(one, two) for one, two in itertools.pairwise(urls)]
    assert counts[0]["instances"] == 8
    assert counts[0]["queue_messages"] == 2
    assert counts == [counts[0]] * 3
    before, after = file_contents(source), file_contents(urls[-1])
    messages = before.pop("inbox")
    assert [replace(each, iid=0) for each in after.pop("inbox")] == [
        replace(each, iid=0, reply_to=None) for each in messages
    ]
    assert after == before


async def test_messages_are_bound_to_the_same_instances(source, postgres, schema):
    """By its new iid; what was bound to one that is gone is bound to nobody."""
    url = postgres.url(schema, partitions=4)
    await maintenance.copy(source, url, lambda done, total: None)
    async with opened(lambda: PostgresStore(url)) as store:
        found = (await store.query(InstanceFilter(id_prefix="run"))).items
        [iid] = [each.row.iid for each in found if each.row.instance_id == "run"]
        messages = [decode_message(data) for _, data in await store.inbox()]
        assert [each.iid for each in messages] == [iid, -1, 0]
        assert iid < store.new_iid("run")


async def test_newest_first_stays_newest_first(source, postgres, schema):
    """And pages of a list hold the same instances."""
    url = postgres.url(schema)
    await maintenance.copy(source, url, lambda done, total: None)
    async with (
        opened(lambda: SqliteStore(source.removeprefix("sqlite:///"))) as one,
        opened(lambda: PostgresStore(url)) as two,
    ):
        lists = [[each.row.instance_id for each in (await store.query(InstanceFilter())).items] for store in (one, two)]
    assert sorted(lists[0]) == sorted(lists[1])
    assert lists[0][-1] == lists[1][-1]


async def test_long_event_ids_survive(postgres, schema, tmp_path):
    """A database keeps a part of them; the whole comes from the history."""
    file, url = f"sqlite:///{tmp_path}/long.db", postgres.url(schema)
    steps = [("start", "a")]
    await live(tmp_path / "long.db", steps, keeps=True)
    long_id = "\U0001f600" * 1000
    async with bide.Hub(bide.App(), file) as hub:
        await hub.store.put_setting("x", "y")
    async with opened(lambda: SqliteStore(tmp_path / "long.db")) as store:
        [loaded] = await store.load(["a"])
        await write(store, Commit(iid=loaded.row.iid, event_ids=(long_id,)))
    await maintenance.copy(file, url, lambda done, total: None)
    async with opened(lambda: PostgresStore(url)) as store:
        [loaded] = await store.load(["a"])
        assert await store.seen_event_ids([(loaded.row.iid, long_id)]) == {(loaded.row.iid, long_id)}


async def test_a_target_that_holds_something_is_refused(source, postgres, schema):
    """It stays as it was."""
    url = postgres.url(schema)
    async with opened(lambda: PostgresStore(url)) as store:
        await store.put_setting("a", "1")
    with pytest.raises(bide.ConfigurationError, match="holds 1 rows already"):
        await maintenance.copy(source, url, lambda done, total: None)
    async with opened(lambda: PostgresStore(url)) as store:
        assert (await store.query(InstanceFilter())).items == []


async def test_stores_in_use_are_refused(source, postgres, schema, tmp_path):
    """On either side; nodes by name."""
    url = postgres.url(schema)
    async with opened(lambda: PostgresStore(url)):
        for one, two in ((source, url), (url, f"sqlite:///{tmp_path}/x.db")):
            with pytest.raises(bide.StoreLockedError, match=r"nodes \d+ \(suite\)"):
                await maintenance.copy(one, two, lambda done, total: None)
    async with opened(lambda: SqliteStore(source.removeprefix("sqlite:///"))):
        with pytest.raises(bide.StoreLockedError):
            await maintenance.copy(source, url, lambda done, total: None)


async def test_rows_without_an_instance_are_not_lost_silently(source, postgres, schema, tmp_path):
    """Nothing is copied then."""
    file = tmp_path / "orphan.db"
    await live(file, [("start", "a")], keeps=True)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT INTO history VALUES (77, 0, 1, x'90')")
    url = postgres.url(schema)
    with pytest.raises(bide.StoreCorruptError, match="Of history 1 rows belong to no instance"):
        await maintenance.copy(f"sqlite:///{file}", url, lambda done, total: None)
    async with opened(lambda: PostgresStore(url)) as store:
        assert (await store.query(InstanceFilter())).items == []


@pytest.mark.parametrize(
    "damage",
    ["INSERT INTO inbox VALUES (1, x'c1')", "UPDATE instances SET status = 99", "UPDATE instances SET tags = 'x'"],
)
async def test_what_cannot_be_read_is_not_copied(damage, tmp_path):
    """Nor is anything else then."""
    one, two = tmp_path / "damaged.db", tmp_path / "copy.db"
    await live(one, [("start", "a")], keeps=True)
    with closing(sqlite3.connect(one)) as database, database:
        database.execute(damage)
    with pytest.raises(bide.StoreCorruptError, match="cannot be read"):
        await maintenance.copy(f"sqlite:///{one}", f"sqlite:///{two}", lambda done, total: None)
    with closing(sqlite3.connect(two)) as database:
        assert database.execute("SELECT count(*) FROM instances").fetchone() == (0,)


def test_the_command(source, postgres, schema, tmp_path, capsys):
    """It tells what it has copied, and checks it."""
    url = postgres.url(schema)
    assert run(["db", "copy", source, url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["copied"]["instances"] == 8
    assert document["violations"] == []
    assert run(["db", "copy", url, f"sqlite:///{tmp_path}/back.db"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Copied: 8 instances, ")
    assert "sound, 8 instances" in out
    assert run(["db", "copy", source, source]) == 2
    assert run(["db", "copy", source, "memory:"]) == 2
