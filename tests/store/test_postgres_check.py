"""`db check` on PostgreSQL: a hub's schema is sound, and each kind of damage is named with its row."""

import asyncio
import json

import pytest
from tests.store.test_copy import copied, source
from tests.store.test_sqlite_check import iid_of, row

import bide
from bide.cli import run
from bide.core.invariants import problems
from bide.store import maintenance
from bide.store.postgres import PostgresStore
from bide.store.postgres.connection import connect
from bide.store.postgres.options import parse_url
from bide.testing.store_suite.fixtures import opened

__all__ = ["source"]


@pytest.fixture
def sound(source, postgres, schema):
    """A schema with some of everything."""
    url = postgres.url(schema, partitions=4)
    copied(source, url)
    return url


def execute(url, *statements):
    async def work():
        connection = await connect(parse_url(url), "tests")
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(work())


def found(url):
    return asyncio.run(maintenance.check(url, problems)).violations


def insert(table, values):
    return f"INSERT INTO {table} VALUES (1, 78849, {values})"  # an iid of partition 1


DAMAGES = [
    ("UPDATE bide SET partitions = 5", "bide", "the row", "number of rows in partitions"),
    ("UPDATE partitions SET epoch = -1", "partitions", "partition 0", "epoch should be"),
    (insert("history", "4, 1, '\\x90'"), "history", "iid 78849, seq 4", "should belong to an instance"),
    (insert("event_ids", "'e'"), "event_ids", "iid 78849, event_id e", "should belong to an instance"),
    (insert("waits", "0, 'x', 'X', 1"), "waits", "iid 78849, number 0", "should belong to an instance"),
    (insert("activities", "'e', 1, 'i', 'a', '', 1, 1"), "activities", "task_id 1", "should belong to an instance"),
    (
        "INSERT INTO history VALUES (2, 78849, 4, 1, '\\x90')",
        "history",
        "iid 78849, seq 4",
        "the one that the iid tells",
    ),
    (
        f"INSERT INTO waits SELECT partition, iid, 5, 'x', 'X', 1 FROM instances WHERE iid = {iid_of('end')}",
        "waits",
        "number 5",
        "live orchestration",
    ),
    (
        "INSERT INTO activities SELECT partition, iid, 'e', 5, id, 'a', '', 1 FROM instances WHERE id = 'end'",
        "activities",
        "task_id 5",
        "live orchestration",
    ),
    (
        f"UPDATE waits SET key = 'Order' WHERE iid = {iid_of('run-child')}",
        "waits",
        "number",
        "key is 'Order', should be 'order'",
    ),
    (f"DELETE FROM history WHERE iid = {iid_of('run')} AND seq = 1", "history", "'run'", "followed by turn 1"),
    (f"UPDATE history SET data = '\\xc1' WHERE iid = {iid_of('run')} AND seq = 1", "history", "seq 1", "encoded list"),
    (row("end", "status = 0"), "instances", "'end'", "status is 'Running', should be 'Completed'"),
    (row("end", "status = 99"), "instances", "'end'", "should be readable"),
    (row("end", "output = 'x'"), "instances", "'end'", "output should be JSON"),
    (row("fail", "failure = '{}'"), "instances", "'fail'", "should be readable"),
    (row("end", "id = 'other'"), "instances", "'other'", "partition is"),
    ("DELETE FROM event_ids", "event_ids", "'run'", "id of an event in the history"),
    ("UPDATE dead_letters SET reason = 'lost'", "dead_letters", "number 1", "reason should be one of"),
    ("UPDATE dead_letters SET input = 'lost'", "dead_letters", "number 1", "input should be JSON"),
    ("SELECT setval('dead_letters_number_seq', 1, false)", "dead_letters", "number 1", "given out"),
    ("SELECT setval('queue_messages_id_seq', 1, true)", "queue_messages", "id 2", "given out"),
    ("INSERT INTO inbox VALUES (3, 30, '\\xc1')", "inbox", "partition 3, key 30", "encoded message"),
    ("INSERT INTO inbox VALUES (9, -3, '\\xc1')", "inbox", "partition 9, key -3", "above 0"),
    ("UPDATE queue_messages SET receipt = NULL", "queue_messages", "id 1", "should have a receipt"),
    ("UPDATE queue_messages SET dequeue_count = -1", "queue_messages", "id 1", "should not be negative"),
    ("DROP INDEX instances_timers", "pg_class", "instances_timers", "is missing"),
    ("CREATE TABLE notes (x text)", "pg_class", "notes.x", "should not be there"),
    ("ALTER TABLE waits ALTER since TYPE numeric", "pg_class", "waits.since", "should be bigint NOT NULL"),
]


@pytest.mark.parametrize(("damage", "table", "key", "words"), DAMAGES)
def test_damage_is_named(sound, damage, table, key, words):
    execute(sound, damage)
    violations = found(sound)
    assert any(each.table == table and key in each.key and words in each.problem for each in violations), violations


def test_another_schema_is_not_judged(postgres, schema):
    """Neither an older nor a newer one."""
    url = postgres.url(schema)
    assert run(["db", "upgrade", url]) == 0
    for version, way_out in ((0, "db upgrade"), (999, "Upgrade bide")):
        execute(url, f"UPDATE bide SET version = {version}")
        with pytest.raises(bide.StoreVersionError, match=way_out):
            found(url)


def test_the_commands(postgres, schema, capsys):
    """A schema is made and brought up to date by `upgrade`, also while nodes are at it; `check` reads one moment."""
    url = postgres.url(schema)
    assert run(["db", "check", url]) == 6
    assert "Run 'bide db upgrade' first" in capsys.readouterr().err
    assert run(["db", "upgrade", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"store": url, "from": 0, "to": 1}
    assert run(["db", "upgrade", url]) == 0
    assert "already has schema 1" in capsys.readouterr().out
    assert run(["db", "check", url]) == 0
    assert "sound, 0 instances" in capsys.readouterr().out
    execute(url, "INSERT INTO inbox VALUES (0, 1, '\\x90')")
    assert run(["db", "check", url]) == 1
    assert "inbox: partition 0, key 1: should be an encoded message" in capsys.readouterr().out


async def test_a_schema_in_use_is_checked(postgres, schema):
    """In one snapshot."""
    url = postgres.url(schema)
    async with opened(lambda: PostgresStore(url)):
        assert (await maintenance.check(url, problems)).violations == []
