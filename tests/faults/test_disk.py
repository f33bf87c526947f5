"""A disk that is really full, and files that may not be read or written. (See also tests/store/test_sqlite_faults.py.)"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.damage import app

import bide
from bide.core.invariants import problems
from bide.store.sqlite import check

NOBODY = 65534


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 4 MiB; needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "bide-test", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk(small_disk):
    """Callers are refused by name, readers are not; with room again it goes on by itself, and all that was accepted is there."""
    path, ballast = small_disk / "bide.db", small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    async with bide.Hub(app, f"sqlite:///{path}") as hub:
        await hub.client.start_new("collect", "i")
        accepted = await raise_until_full(hub.client)
        assert (await hub.client.get_status("i")).buffered == {"other": accepted}
        with pytest.raises(bide.StoreUnavailableError):
            await hub.client.start_new("collect", "too-much", "y" * 500_000)
        ballast.unlink()
        receipt = await hub.client.raise_event("i", "other", accepted, event_id=str(accepted))
        assert not receipt.is_duplicate
        await hub.client.raise_event("i", "n", "stop")
        assert (await hub.client.wait_for_completion("i", timeout=20)).output == []
        letters = (await hub.client.dead_letters(page_size=1000)).items
        assert sorted(int(letter.event_id) for letter in letters) == list(range(accepted + 1))
        assert [each.instance_id for each in (await hub.client.get_status_by()).items] == ["i"]
    assert check(path, problems).violations == []


async def raise_until_full(client: bide.Client) -> int:
    """Raise events until one is refused for the right reason; how many were not."""
    for number in range(1000):
        try:
            await client.raise_event("i", "other", "x" * 4000, event_id=str(number))
        except bide.StoreUnavailableError as error:
            assert "full" in str(error)
            return number
    raise AssertionError("it is never full")


async def test_a_disk_that_is_full_at_the_start(small_disk):
    """A hub on a store that cannot even be opened says so; nothing of it is lost."""
    path, ballast = small_disk / "bide.db", small_disk / "ballast"
    async with bide.Hub(app, f"sqlite:///{path}") as hub:
        await hub.client.start_new("collect", "i")
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"x" * 4096)
    with contextlib.suppress(bide.StoreUnavailableError):
        async with bide.Hub(app, f"sqlite:///{path}") as hub:
            await hub.client.raise_event("i", "n", "y" * 100_000)
            raise AssertionError("there was room")
    ballast.unlink()
    async with bide.Hub(app, f"sqlite:///{path}") as hub:
        await hub.client.raise_event("i", "n", "stop")
        assert (await hub.client.wait_for_completion("i", timeout=20)).output == []


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Root may do everything: be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("target", "mode"), [("bide.db", 0o444), ("bide.db", 0o000), (".", 0o555), ("bide.db.lock", 0o000)]
)
async def test_files_that_may_not_be_used(folder, target, mode):
    """The error names the file and what must be changed; changed, everything is there."""
    path = folder / "bide.db"
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    with without_rights():
        async with bide.Hub(app, f"sqlite:///{path}") as hub:
            await hub.client.start_new("collect", "i")
        before = (folder / target).stat().st_mode
        (folder / target).chmod(mode)
        try:
            with pytest.raises(bide.StoreUnavailableError, match=r"must be writable|cannot be opened"):
                async with bide.Hub(app, f"sqlite:///{path}") as hub:
                    await hub.client.raise_event("i", "n", 1)
        finally:
            (folder / target).chmod(before)
        async with bide.Hub(app, f"sqlite:///{path}") as hub:
            await hub.client.raise_event("i", "n", "stop")
            assert (await hub.client.wait_for_completion("i", timeout=20)).output == []
