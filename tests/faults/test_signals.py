"""A served hub under load gets a signal: nobody is left without an answer, and what was accepted is there afterwards."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.faults.damage import app

import bide
from bide.core.invariants import problems
from bide.store.sqlite import check

CLIENTS = 20
APP = Path(__file__).with_name("damage.py")


@pytest.fixture
def server(tmp_path):
    """`bide serve`, its address, and a list of what it says besides."""
    command = [sys.executable, "-u", "-m", "bide", "serve", str(APP), "--port", "0"]
    command += ["--store", f"sqlite:///{tmp_path / 'bide.db'}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
    ) as process:
        for line in process.stdout:
            if found := re.search(r"on (http://[^ ]+)\s", line):
                break
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield process, found[1]
        process.kill()
        process.stderr.close()


class Load:
    """Each client raises to an instance of its own, one event after the other, until nobody is there any more."""

    def __init__(self, client: bide.Client) -> None:
        self._client = client
        self.accepted = [0] * CLIENTS
        self._is_heavy = asyncio.Event()

    async def run(self, number: int) -> None:
        await self._client.start_new("collect", f"i{number}")
        try:
            while True:
                await self._client.raise_event(f"i{number}", "n", self.accepted[number])
                self.accepted[number] += 1
                if self.accepted[number] > 3:
                    self._is_heavy.set()
        except (bide.HubUnreachableError, bide.HubClosedError):
            return

    async def until_heavy(self) -> None:
        await self._is_heavy.wait()
        self._is_heavy.clear()


async def consumed(path: Path) -> list[list[int]]:
    async with bide.Hub(app, f"sqlite:///{path}") as hub:
        return [(await hub.client.get_status(f"i{number}")).custom_status or [] for number in range(CLIENTS)]


async def test_sigterm_under_load(server, tmp_path):
    """Every request is answered or refused; the process ends by itself with 0 and says nothing; the log is empty, all there."""
    process, url = server
    async with bide.connect(url) as client:
        load = Load(client)
        running = [asyncio.create_task(load.run(number)) for number in range(CLIENTS)]
        await load.until_heavy()
        process.terminate()
        await asyncio.gather(*running)
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert process.stderr.read() == ""
    assert not (tmp_path / "bide.db-wal").exists()
    assert check(tmp_path / "bide.db", problems).violations == []
    for accepted, seen in zip(load.accepted, await consumed(tmp_path / "bide.db"), strict=True):
        assert seen in (list(range(accepted)), list(range(accepted + 1))), "the last one may have lost its answer"


async def test_a_process_that_stands_still(server, tmp_path):
    """SIGSTOP: it still owns the store. SIGCONT: it goes on as if nothing had been, and all who waited have their answers."""
    process, url = server
    async with bide.connect(url) as client:
        load = Load(client)
        running = [asyncio.create_task(load.run(number)) for number in range(CLIENTS)]
        await load.until_heavy()
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(bide.StoreLockedError, match=f"process {process.pid}"):
            await bide.Hub(app, f"sqlite:///{tmp_path / 'bide.db'}").start()
        process.send_signal(signal.SIGCONT)
        await load.until_heavy()
        assert not any(task.done() for task in running)
        process.kill()
        await asyncio.gather(*running)
    await asyncio.to_thread(process.wait, 20)
    for accepted, seen in zip(load.accepted, await consumed(tmp_path / "bide.db"), strict=True):
        assert seen in (list(range(accepted)), list(range(accepted + 1)))
