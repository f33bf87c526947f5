"""Files that are not what was written to them: cut short, or with a bit turned over."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.faults.damage import CASES, KINDS, app

import bide

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of each damaged copy of a store, by kind of damage: the outcome, and whether `db check` finds it sound."""
    folder = tmp_path_factory.mktemp("damage")
    command = [sys.executable, "-m", "tests.faults.damage", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, cwd=ROOT)
    shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {kind: [] for kind in KINDS}
    for line in done.stdout.splitlines():
        which, how, _, outcome, is_sound = json.loads(line)
        found[which, how].append((outcome, is_sound))
    assert all(len(each) == CASES for each in found.values())
    return found


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_a_damaged_log_ends_where_the_damage_is(outcomes, how):
    """SQLite takes what follows a bad checksum for never written: what is left is the state after some commit, and sound.

    So a log that loses its end loses commits that were answered, and nobody can tell. This is no promise that is kept, but the
    limit of one: see docs/guarantees.md.
    """
    assert {outcome for outcome, _ in outcomes["log", how]} <= {"everything", "earlier"}
    assert sum(is_sound for _, is_sound in outcomes["log", how]) >= CASES - 2, "but for one without a schema"


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_damage_of_the_database_is_named_or_can_be_found(outcomes, how):
    """An error of ours; or everything is there; or something else is, and then `bide db check` finds it.

    But for a letter within a value: SQLite has no checksums of what is in a page.
    """
    for outcome, is_sound in outcomes["database", how]:
        assert outcome != "earlier"
        assert outcome.endswith("Error") or outcome in {"everything", "another value"} or not is_sound


def test_a_database_that_is_cut_short_is_refused(outcomes):
    assert {outcome for outcome, _ in outcomes["database", "cut"]} <= {"StoreCorruptError", "StoreUnavailableError"}


async def make(path: Path) -> None:
    async with bide.Hub(app, f"sqlite:///{path}") as hub:
        for instance_id in ("broken", "sound"):
            await hub.client.start_new("collect", instance_id)
        await hub.client.start_new("collect", "ended")
        await hub.client.raise_event("ended", "other", 1)
        await hub.client.raise_event("ended", "n", "stop")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE history SET data = x'91a1ff'",  # no text
        "UPDATE history SET data = x'01'",
        "DELETE FROM history",
        "UPDATE instances SET status = 99",
        "UPDATE instances SET custom_status = '{'",
        "UPDATE instances SET created_at = 9e18",
        "UPDATE instances SET buffered = '[1]'",
        "UPDATE instances SET name = CAST(x'ff' AS TEXT)",
    ],
)
async def test_what_cannot_be_read_is_damage_and_named(tmp_path, damage):
    """Whoever asks for it gets `StoreCorruptError`, not an error of whatever reads; what is sound can still be asked for."""
    path = tmp_path / "bide.db"
    await make(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"{damage} WHERE iid = (SELECT iid FROM instances WHERE id = 'broken')")
    async with bide.Hub(app, f"sqlite:///{path}") as hub:
        with pytest.raises(bide.StoreCorruptError, match=r"broken|damaged"):
            await hub.client.get_status("broken")
        if "history SET" in damage:  # a list shows the others, and this one without its input
            assert len((await hub.client.get_status_by()).items) > 1
        else:
            with pytest.raises(bide.StoreCorruptError, match=r"broken|damaged"):
                await hub.client.get_status_by()
        assert (await hub.client.get_status("sound")).runtime_status.label == "Running"


@pytest.mark.parametrize("damage", ["input = '{'", "reason = 'no reason'", "input = CAST(x'ff' AS TEXT)"])
async def test_dead_letters_that_cannot_be_read(tmp_path, damage):
    path = tmp_path / "bide.db"
    await make(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE dead_letters SET {damage}")
    async with bide.Hub(app, f"sqlite:///{path}") as hub:
        with pytest.raises(bide.StoreCorruptError):
            await hub.client.dead_letters()


async def test_a_message_between_instances_that_cannot_be_read(tmp_path, caplog):
    """It is named in the log, stays where it is, and stops nobody: the next message gets a key of its own."""
    path = tmp_path / "bide.db"
    await make(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO inbox (key, data) VALUES (1, x'c1')")
    async with bide.Hub(app, f"sqlite:///{path}") as hub:
        assert "message 1 of the inbox cannot be read" in caplog.text
        await hub.client.raise_event(await hub.client.start_new("collect", "other"), "n", "stop")
        await hub.client.wait_for_completion("other", timeout=20)
        assert [key for key, _ in await hub.store.inbox()] == [1]


@pytest.mark.parametrize("value", ["x'7461626c65'", "'tbble'"])
async def test_a_damaged_list_of_tables(tmp_path, value):
    """`bide db check` names the table, whatever is wrong in its entry."""
    from bide.core.invariants import problems
    from bide.store.sqlite import check

    path = tmp_path / "bide.db"
    await make(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA writable_schema = 1")
        database.execute(f"UPDATE sqlite_master SET type = {value} WHERE name = 'history'")
    try:
        violations = check(path, problems).violations
    except bide.StoreCorruptError:
        return
    assert "history" in {violation.key for violation in violations}
