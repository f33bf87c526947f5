"""`db check`: whatever the engine writes is sound, and each kind of damage is named with its row."""

import asyncio
import contextlib
import json
import sqlite3
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import bide
from bide.cli import run
from bide.core.invariants import problems
from bide.store import SqliteStore
from bide.store.sqlite import check
from bide.testing import Harness

app = bide.App()


@app.orchestrator
def everything(context):  # noqa: C901  (a table)
    """Do what its events say, one after the other; what is not an order is left in the mailbox."""
    while True:
        order = yield context.wait_for_external_event("order")
        if order == "activity":
            yield context.call_activity(echo, 1)
        elif order == "timer":
            yield context.create_timer(context.current_utc_datetime + timedelta(minutes=5))
        elif order == "race":
            yield context.wait_for_external_event("other", timeout=timedelta(minutes=3), default=None)
        elif order == "typed":
            yield context.wait_for_external_event("other", int)
        elif order == "child":
            yield context.call_sub_orchestrator(everything, instance_id=f"{context.instance_id}-child")
        elif order == "lock":
            with (yield context.lock_entities(["@counter@a", "@counter@b"])):
                yield context.call_entity("@counter@a", "add", 1)
        elif order == "signal":
            context.signal_entity("@counter@b", "add", 1, scheduled_time=timedelta(minutes=2))
        elif order == "status":
            context.set_custom_status({"is": order})
        elif order == "fail":
            yield context.call_activity(fail)
        elif order == "renew":
            context.continue_as_new(None)
            return None
        elif order == "end":
            return order


@app.activity
async def echo(value):
    return value


@app.activity
async def fail():
    raise ValueError("told to")


@app.entity
async def counter(context):
    context.set_state(context.get_state(int) + context.get_input())


ORDERS = ("activity", "timer", "race", "typed", "child", "lock", "signal", "status", "fail", "renew", "end")
IDS = ("a", "b", "a-child", "b-child")
STEPS = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(IDS[:2])),
    st.tuples(st.just("later"), st.sampled_from(IDS[:2])),
    st.tuples(st.just("order"), st.sampled_from(IDS), st.sampled_from(ORDERS)),
    st.tuples(st.just("order"), st.sampled_from(IDS), st.sampled_from(ORDERS)),
    st.tuples(st.just("other"), st.sampled_from(IDS)),
    st.tuples(st.sampled_from(["suspend", "resume", "terminate", "rewind", "purge"]), st.sampled_from(IDS)),
    st.tuples(st.just("entity"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("advance"), st.integers(1, 400)),
    st.tuples(st.just("queue"), st.booleans()),
)


async def take(harness: Harness, number: int, step: tuple) -> None:
    client, store = harness.client, harness.store
    match step:
        case "start", id_:
            await client.start_new(everything, id_)
        case "later", id_:
            await client.start_new(everything, id_, start_at=timedelta(minutes=1))
        case "order", id_, order:
            await client.raise_event(id_, "Order", order, event_id=str(number) if number % 2 else None)
        case "other", id_:
            await client.raise_event(id_, "other", number)
        case "entity", key:
            await client.signal_entity(f"@counter@{key}", "add", number)
        case "advance", seconds:
            await harness.advance(seconds)
        case "queue", is_taken:
            await store.enqueue("q", "x", visible_at=1)
            if is_taken:
                await store.dequeue("q", 1, 2, 1)
        case verb, id_:
            await getattr(client, verb)(id_)


async def live(path: Path, steps: list[tuple], *, keeps: bool) -> None:
    async with Harness(app, SqliteStore(path), max_resident=1000 if keeps else 0) as harness:
        for number, step in enumerate(steps):
            with contextlib.suppress(bide.InstanceError):  # a refused verb must leave the store sound as well
                await take(harness, number, step)
            if number % 3 == 0:
                await harness.run_until_idle()


@given(st.lists(STEPS, min_size=1, max_size=40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_the_engine_does_is_sound(steps, keeps):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.db"
        asyncio.run(live(path, [("start", "a"), ("start", "b"), *steps], keeps=keeps))
        assert check(path, problems).violations == []


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A closed store with an instance for every rule."""
    path = tmp_path_factory.mktemp("sound") / "sound.db"
    steps = [
        *[("start", id_) for id_ in ("run", "end", "fail", "stop", "timer", "typed", "first")],
        ("later", "later"),
        ("other", "run"),
        ("order", "end", "end"),
        ("order", "fail", "fail"),
        ("order", "stop", "status"),
        ("terminate", "stop"),
        ("order", "timer", "timer"),
        ("order", "typed", "typed"),
        ("order", "run", "status"),
        ("order", "run", "status"),
        ("entity", "a"),
        ("queue", True),
        ("order", "end", "late"),
    ]
    asyncio.run(live(path, steps, keeps=True))
    assert check(path, problems).violations == []
    return path


def iid_of(id_: str) -> str:
    return f"(SELECT iid FROM instances WHERE id = '{id_}')"


def row(id_: str, change: str) -> str:
    return f"UPDATE instances SET {change} WHERE id = '{id_}'"


@pytest.mark.parametrize(
    ("damage", "table", "key", "words"),
    [
        ("UPDATE meta SET last_iid = 1", "meta", "the row", "highest iid"),
        ("INSERT INTO meta VALUES (99)", "meta", "the row", "exactly one row"),
        ("DELETE FROM meta", "meta", "the row", "is missing"),
        ("INSERT INTO history VALUES (77, 4, 1, x'90')", "history", "iid 77, seq 4", "should belong to an instance"),
        ("INSERT INTO event_ids VALUES (77, 'e')", "event_ids", "iid 77, event_id e", "should belong to an instance"),
        ("INSERT INTO waits VALUES (77, 0, 'x', 'X', 1, NULL, NULL)", "waits", "iid 77, number 0", "belong to an inst"),
        (
            f"INSERT INTO waits VALUES ({iid_of('end')}, 5, 'x', 'X', 1, NULL, NULL)",
            "waits",
            "number 5",
            "live orchestration",
        ),
        (
            f"UPDATE waits SET key = 'Order' WHERE iid = {iid_of('run')}",
            "waits",
            "number",
            "key is 'Order', should be 'order'",
        ),
        (f"DELETE FROM history WHERE iid = {iid_of('run')}", "history", "'run'", "at least one turn"),
        (f"DELETE FROM history WHERE iid = {iid_of('run')} AND seq = 1", "history", "'run'", "followed by turn 1"),
        (f"DELETE FROM history WHERE iid = {iid_of('run')} AND seq = 0", "history", "'run'", "first turn is 1"),
        (
            f"UPDATE history SET data = x'c1' WHERE iid = {iid_of('run')} AND seq = 1",
            "history",
            "seq 1",
            "encoded list",
        ),
        (f"UPDATE history SET data = x'91cd' WHERE iid = {iid_of('@counter@a')}", "history", "seq", "encoded list"),
        (f"UPDATE history SET data = 'text' WHERE iid = {iid_of('run')} AND seq = 1", "history", "seq 1", "type text"),
        (f"UPDATE history SET data = x'91910c' WHERE iid = {iid_of('run')} AND seq = 0", "history", "seq 0", "encoded"),
        (
            f"UPDATE history SET data = x'91922ac0' WHERE iid = {iid_of('run')} AND seq = 0",
            "history",
            "seq 0",
            "encoded",
        ),
        (row("run", "execution_id = 'other'"), "instances", "'run'", "execution_id is 'other', should be"),
        (row("run", "name = 'other'"), "instances", "'run'", "name is 'other', should be 'everything'"),
        (row("run", "status = 1"), "instances", "'run'", "status is 'Completed', should be 'Running'"),
        (row("run", "status = 99"), "instances", "'run'", "99 is not a valid"),
        (row("end", "status = 0"), "instances", "'end'", "status is 'Running', should be 'Completed'"),
        (row("end", "ended_at = 5"), "instances", "'end'", "ended_at is 5, should be"),
        (row("run", "ended_at = 5"), "instances", "'run'", "ended_at is 5, should be None"),
        (row("run", "output = '1'"), "instances", "'run'", "output is '1', should be None"),
        (row("end", "output = 'x'"), "instances", "iid", "output should be JSON"),
        (row("fail", "output = '1'"), "instances", "'fail'", "output is '1', should be"),
        (row("fail", "failure = NULL"), "instances", "'fail'", "failure is None, should be"),
        (row("fail", "failure = '{}'"), "instances", "'fail'", "should be readable"),
        (row("stop", "output = '1'"), "instances", "'stop'", "output is '1', should be None"),
        (row("later", "start_at = NULL"), "instances", "'later'", "status is 'Pending', should be 'Running'"),
        (row("later", "next_timer_at = 5"), "instances", "'later'", "next_timer_at is 5, should be"),
        (row("run", "start_at = 5"), "instances", "'run'", "start_at is 'set', should be None"),
        (row("timer", "next_timer_at = 5"), "instances", "'timer'", "next_timer_at is 5, should be empty or that of"),
        (row("end", "next_timer_at = 5"), "instances", "'end'", "next_timer_at is 5, should be None"),
        (row("run", "is_active = 1"), "instances", "'run'", "is_active is True, should be False"),
        (row("run", "is_active = 7"), "instances", "iid", "is_active should be 0 or 1"),
        (row("run", "created_at = 'now'"), "instances", "iid", "created_at is of type text, should be integer"),
        (row("run", "generation = 3"), "instances", "'run'", "generation is 3, should be 0"),
        (row("run", "buffered = '{\"other\":9}'"), "instances", "'run'", "buffered has 9 of 'other', should be 1 to 1"),
        (row("@counter@a", "is_active = 1"), "instances", "'@counter@a'", "is_active is True, should be False"),
        (row("@counter@a", "status = 1"), "instances", "'@counter@a'", "status is"),
        (row("@counter@a", "output = NULL"), "instances", "'@counter@a'", "should have been removed"),
        (row("@counter@a", "id = '@Counter@a'"), "instances", "'@Counter@a'", "instance_id is '@Counter@a', should be"),
        (row("@counter@a", "id = '@counter'"), "history", "'@counter'", "does not fit together"),
        (row("@counter@a", "id = 'counter'"), "history", "'counter'", "begin with ExecutionStarted, not EntityStarted"),
        (row("run", "id = '@run@'"), "history", "'@run@'", "begin with EntityStarted, not ExecutionStarted"),
        (
            "UPDATE waits SET type = x'00' WHERE type IS NOT NULL",
            "waits",
            "iid",
            "type is of type blob, should be text",
        ),
        (
            "UPDATE waits SET since = 'now' WHERE type IS NULL",
            "waits",
            "iid",
            "since is of type text, should be integer",
        ),
        ("DELETE FROM event_ids", "event_ids", "'run'", "id of an event in the history"),
        ("UPDATE dead_letters SET reason = 'lost'", "dead_letters", "number 1", "reason should be one of"),
        ("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'dead_letters'", "dead_letters", "number 1", "given out"),
        ("INSERT INTO inbox VALUES (3, x'c1')", "inbox", "key 3", "encoded message"),
        ("INSERT INTO inbox VALUES (-3, x'c1')", "inbox", "key -3", "above 0"),
        ("UPDATE queue_messages SET receipt = NULL", "queue_messages", "id 1", "should have a receipt"),
        ("UPDATE queue_messages SET dequeue_count = -1", "queue_messages", "id 1", "should not be negative"),
        ("INSERT INTO settings VALUES ('a', x'00')", "settings", "name a", "value is of type blob, should be text"),
        ("DROP INDEX instances_timers", "sqlite_master", "instances_timers", "is missing"),
        ("CREATE TABLE notes (x)", "sqlite_master", "notes", "should not be there"),
    ],
)
def test_damage_is_named(sound, tmp_path, damage, table, key, words):
    path = tmp_path / "damaged.db"
    path.write_bytes(sound.read_bytes())
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(damage)
    found = check(path, problems).violations
    assert any(each.table == table and key in each.key and words in each.problem for each in found), found


def test_a_damaged_page_is_named_by_sqlite(sound, tmp_path):
    """An index that lacks a row of its table: what else is in the file is not looked at."""
    path = tmp_path / "damaged.db"
    path.write_bytes(sound.read_bytes())
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'waits_by_name') "
            "WHERE name = 'instances_timers'"
        )
        database.commit()
    found = check(path, problems).violations
    assert found
    assert {each.table for each in found} == {"sqlite"}


def test_the_command(sound, tmp_path, capsys):
    """Clean: 0; violations: 1 and a line each; in use: 6."""
    path = tmp_path / "cli.db"
    path.write_bytes(sound.read_bytes())
    url = f"sqlite:///{path}"
    assert run(["db", "check", url]) == 0
    assert "sound, 9 instances" in capsys.readouterr().out
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE meta SET last_iid = 0")
    assert run(["db", "check", url]) == 1
    assert "meta: the row: last_iid should be" in capsys.readouterr().out
    assert run(["db", "check", url, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["instances"] == 9
    assert [each["table"] for each in document["violations"]] == ["meta"]


async def test_a_store_in_use_is_refused(tmp_path):
    async with bide.Hub(app, f"sqlite:///{tmp_path}/bide.db"):
        with pytest.raises(bide.StoreLockedError):
            check(tmp_path / "bide.db", problems)


def test_another_schema_is_not_judged(sound, tmp_path):
    path = tmp_path / "old.db"
    path.write_bytes(sound.read_bytes())
    for version, way_out in ((1, "db upgrade"), (999, "Upgrade bide")):
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(bide.StoreVersionError, match=way_out):
            check(path, problems)
    with pytest.raises(bide.StoreUnavailableError, match="There is no file"):
        check(tmp_path / "nothing.db", problems)
