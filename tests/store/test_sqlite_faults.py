"""A real file that cannot be used, and what is said about it; nothing that was accepted is lost."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest

import bide
from bide import App, Hub
from bide.model.entities import OperationRequest, TaskAddress
from bide.model.messages import RequestEntity, UnlockEntity, encode_message
from bide.store import SqliteStore
from bide.store.sqlite.connection import explain

app = App()


@app.orchestrator
def approval(context):
    return (yield context.wait_for_external_event("Approval"))


def url(path: Path) -> str:
    return f"sqlite:///{path}"


async def refused(path: Path, error: type[bide.BideError], *words: str) -> None:
    """Open a hub on `path`; the error is of that kind, names the file, and has these words."""
    with pytest.raises(error) as caught:
        await Hub(app, url(path)).__aenter__()
    for word in (str(path), *words):
        assert word in str(caught.value)


async def make(path: Path) -> str:
    async with Hub(app, url(path)) as hub:
        return await hub.client.start_new("approval")


async def test_a_second_process_is_told_who_has_the_file(tmp_path):
    """It names the process that has it, and the file works again when that one is dead."""
    path = tmp_path / "bide.db"
    code = (
        f"import asyncio, bide\nasync def main():\n async with bide.Hub(bide.App(), {url(path)!r}):\n"
        "  print('ready', flush=True)\n  await asyncio.sleep(60)\nasyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:  # noqa: ASYNC220
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        await refused(path, bide.StoreLockedError, f"process {owner.pid}")
        owner.kill()
    await make(path)


async def test_a_second_hub_in_the_same_process_is_refused(tmp_path):
    path = tmp_path / "bide.db"
    async with Hub(app, url(path)):
        await refused(path, bide.StoreLockedError, f"process {os.getpid()}")


async def test_no_such_folder(tmp_path):
    await refused(tmp_path / "no" / "bide.db", bide.StoreUnavailableError, "no folder")


async def test_a_folder_instead_of_a_file(tmp_path):
    await refused(tmp_path, bide.StoreUnavailableError, "is a folder")


async def test_a_folder_that_cannot_be_written():
    """`/proc` takes no files, not even from root."""
    await refused(Path("/proc/bide.db"), bide.StoreUnavailableError, "writable")


async def test_not_a_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk " * 100)
    await refused(path, bide.StoreCorruptError, "not an SQLite database")
    assert path.read_text().startswith("remember")


async def test_the_database_of_another_program(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    await refused(path, bide.StoreCorruptError, "another program")


async def test_a_database_from_a_newer_bide(tmp_path):
    path = tmp_path / "bide.db"
    await make(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 999")
    await refused(path, bide.StoreVersionError, "999", "Upgrade bide")


async def test_a_truncated_database(tmp_path):
    path = tmp_path / "bide.db"
    await make(path)
    os.truncate(path, path.stat().st_size // 2)

    async def use():
        async with Hub(app, url(path)) as hub:
            await hub.client.get_status_by()
            await hub.client.waits()

    with pytest.raises(bide.StoreCorruptError, match="damaged"):
        await use()


@pytest.mark.parametrize(
    "turn", ["c1c1", "", "90", "91920cff", "919a00a1ff"], ids=["no turn", "nothing", "no event", "cut off", "no text"]
)
async def test_one_damaged_history_harms_only_its_instance(tmp_path, turn):
    """Its caller is told, others go on, lists are whole, and it can be purged."""
    path = tmp_path / "bide.db"
    broken, sound = await make(path), await make(path)
    with closing(sqlite3.connect(path)) as damage, damage:
        damage.execute(
            "UPDATE history SET data = ? WHERE iid = (SELECT iid FROM instances WHERE id = ?)",
            (bytes.fromhex(turn), broken),
        )
    async with Hub(app, url(path)) as hub:
        for ask in (hub.client.get_status, hub.client.restart, hub.client.suspend):
            with pytest.raises(bide.StoreCorruptError, match=broken):
                await ask(broken)
        assert [each.instance_id for each in (await hub.client.get_status_by()).items] == [sound, broken]
        await hub.client.raise_event(sound, "Approval", "yes")
        assert (await hub.client.wait_for_completion(sound, timeout=5)).output == "yes"
        assert await hub.client.purge(broken, force=True) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        msgspec.msgpack.encode({"type": "Begin", "instance_id": "", "execution_id": "x"}),
        encode_message(UnlockEntity(instance_id="no entity", owner=TaskAddress("x", "y", 1))),
        encode_message(RequestEntity(instance_id="sound", request=OperationRequest("x", "y"))),
    ],
    ids=["no message", "for nobody", "for no entity", "for another than an entity"],
)
async def test_a_damaged_message_in_the_inbox_stops_nobody(tmp_path, data):
    path = tmp_path / "bide.db"
    async with Hub(app, url(path)) as hub:
        await hub.client.start_new("approval", "sound")
    with closing(sqlite3.connect(path)) as damage, damage:
        damage.execute("INSERT INTO inbox (key, data) VALUES (1, ?)", (data,))
    async with Hub(app, url(path)) as hub:
        await hub.client.raise_event("sound", "Approval", "yes")
        assert (await hub.client.wait_for_completion("sound", timeout=5)).output == "yes"


FILE_TOO_LARGE = """
import asyncio, resource, signal, sys
import bide
from test_sqlite_faults import app, url

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with bide.Hub(app, sys.argv[1]) as hub:
        before = await hub.client.start_new("approval", "before")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        try:
            for verb in (hub.client.raise_event(before, "Approval", 1, event_id="a"), hub.client.start_new("approval", "lost")):
                try:
                    await verb
                except bide.StoreUnavailableError as error:
                    print(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        receipt = await hub.client.raise_event(before, "Approval", 2, event_id="a")
        status = await hub.client.wait_for_completion(before, timeout=30)
        print(receipt.is_duplicate, status.output)
        print([each.instance_id for each in (await hub.client.get_status_by()).items])

asyncio.run(main())
"""


def test_no_room_to_write_refuses_callers_and_heals_by_itself(tmp_path):
    """Writes fail (the file may not grow): the raise is refused and changes nothing; repeated later, it is accepted."""
    done = subprocess.run(
        [sys.executable, "-c", FILE_TOO_LARGE, url(tmp_path / "bide.db")],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        cwd=Path(__file__).parent,
    )
    first, second, third, fourth = done.stdout.splitlines()
    assert str(tmp_path) in first
    assert str(tmp_path) in second
    assert third == "False 2"
    assert fourth == "['before']"


@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [
        (sqlite3.SQLITE_FULL, bide.StoreUnavailableError, "full"),
        (sqlite3.SQLITE_IOERR, bide.StoreUnavailableError, "cannot be read or written"),
        (sqlite3.SQLITE_IOERR_FSYNC, bide.StoreUnavailableError, "cannot be read or written"),
        (sqlite3.SQLITE_READONLY, bide.StoreUnavailableError, "read-only"),
        (sqlite3.SQLITE_PERM, bide.StoreUnavailableError, "read-only"),
        (sqlite3.SQLITE_CANTOPEN, bide.StoreUnavailableError, "cannot be opened"),
        (sqlite3.SQLITE_BUSY, bide.StoreUnavailableError, "locked"),
        (sqlite3.SQLITE_LOCKED, bide.StoreUnavailableError, "locked"),
        (sqlite3.SQLITE_CORRUPT, bide.StoreCorruptError, "damaged"),
        (sqlite3.SQLITE_NOTADB, bide.StoreCorruptError, "not an SQLite database"),
    ],
)
def test_driver_errors(code, expected, words):
    """Every driver error becomes one of ours that names the file."""
    error = sqlite3.OperationalError("driver's words")
    error.sqlite_errorcode = code
    ours = explain(error, Path("bide.db"))
    assert type(ours) is expected
    assert words in str(ours)
    assert "bide.db" in str(ours)


async def test_a_full_disk_is_named(tmp_path):
    """SQLite's own limit on pages raises the very error of a full disk."""
    async with Hub(app, url(tmp_path / "bide.db")) as hub:
        writer = hub.store._writer._connection
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(bide.StoreUnavailableError, match="full"):
            await hub.client.start_new("approval", client_input="x" * 500_000)
        writer.execute("PRAGMA max_page_count = 1000000")
        assert await hub.client.start_new("approval", "after") == "after"


async def test_commits_are_on_the_disk_when_they_are_answered(tmp_path):
    """Killing a process cannot show it, since what is written survives; so at least the settings are what they must be."""
    async with Hub(app, url(tmp_path / "bide.db")) as hub:
        writer = hub.store._writer._connection
        settings = [writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert settings == ["wal", 2], "2 is FULL: an fsync of the log in every commit"


async def test_what_was_passed_in_before_a_failure_was_known_fails_too(tmp_path, monkeypatch):
    """Also what the thread had taken by then: it may rest on what failed."""
    taken, known = threading.Event(), threading.Event()

    class Queue(SimpleQueue):
        def get(self):
            job = super().get()
            if job is not None and job[0] == rests_on_it:
                taken.set()
                known.wait(20)
            return job

    fails, rests_on_it = ("INSERT INTO nowhere VALUES (1)", ()), ("CREATE TABLE t (x)", ())
    monkeypatch.setattr("bide.store.sqlite.writer.SimpleQueue", Queue)
    store = SqliteStore(tmp_path / "bide.db")
    await store.open()
    try:
        jobs = [store._writer.submit(statement) for statement in (fails, rests_on_it)]
        jobs[0].add_done_callback(lambda _: known.set())
        assert taken.wait(20)  # the loop stands still, and knows nothing yet
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(result, bide.StoreError) for result in results)
        await store._writer.submit(("SELECT 1", ()))
    finally:
        await store.close()


async def test_a_message_that_was_not_stored_is_refused(tmp_path):
    """Nobody who waits in line behind it waits in vain, not even behind one who has gone; then the queue goes on."""
    store = SqliteStore(tmp_path / "bide.db")
    await store.open()
    try:
        connection = store._writer._connection
        connection.execute("PRAGMA max_page_count = 1")
        big = [asyncio.ensure_future(store.enqueue("q", "x" * 500_000, visible_at=1)) for _ in range(5)]
        await asyncio.sleep(0)
        big[1].cancel()
        results = await asyncio.wait_for(asyncio.gather(*big, return_exceptions=True), timeout=5)
        kinds = [type(result) for result in results]
        assert kinds == [bide.StoreUnavailableError, asyncio.CancelledError] + [bide.StoreUnavailableError] * 3
        connection.execute("PRAGMA max_page_count = 1000000")
        await store.enqueue("q", "after", visible_at=1)
        assert [message.body for message in await store.dequeue("q", 1, 2, 9)] == ["after"]
    finally:
        await store.close()


async def test_a_copy_of_the_files_is_a_backup(tmp_path):
    """The files of a closed hub can be copied and opened elsewhere."""
    instance_id = await make(tmp_path / "bide.db")
    shutil.copy(tmp_path / "bide.db", tmp_path / "copy.db")
    async with Hub(app, url(tmp_path / "copy.db")) as hub:
        await hub.client.raise_event(instance_id, "Approval", "copied")
        assert (await hub.client.wait_for_completion(instance_id, timeout=5)).output == "copied"
