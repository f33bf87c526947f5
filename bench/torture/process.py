"""A hub as a process of its own, and the ways in which it ends."""

import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.torture.failpoints import Failpoint
from bench.torture.worker import SAID

_START_SECONDS = 30
_COMPLAINTS = ("Traceback", "please report", "unexpected error", "never retrieved", "never awaited")
"""What a hub must never have to say, whatever it goes through."""
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a worker is to run; see there."""

    store: str
    folder: Path
    failpoint: Failpoint | None = None
    hit: int = 1
    seed: int = 0
    is_faulty: bool = False
    max_resident: int = 10_000

    def command(self) -> list[str]:
        command = [sys.executable, "-m", "bench.torture.worker", "--store", self.store, "--notes", str(self.folder)]
        command += ["--seed", str(self.seed), "--max-resident", str(self.max_resident)]
        if self.failpoint is not None:
            command += ["--failpoint", self.failpoint, "--hit", str(self.hit)]
        return command + ["--faulty"] * self.is_faulty


class HubProcess:
    """A running worker. `url` is None when it has died before it served anybody."""

    def __init__(self, setting: Setting, process: asyncio.subprocess.Process, log: Path, url: str | None) -> None:
        self._setting = setting
        self._process = process
        self._log = log
        self.url = url

    @classmethod
    async def start(cls, setting: Setting) -> "HubProcess":
        log = setting.folder / "worker.log"
        with log.open("w") as stderr:
            process = await asyncio.create_subprocess_exec(
                *setting.command(), stdout=asyncio.subprocess.PIPE, stderr=stderr, cwd=_ROOT
            )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                port = (await process.stdout.readline()).decode().strip()
        except BaseException:
            process.kill()
            raise
        return cls(setting, process, log, f"http://127.0.0.1:{port}" if port else None)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def end(self, seconds: float) -> int | None:
        """Wait for its end, so long at the most; its code, negative for a signal; None: it lives."""
        try:
            return await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            return None

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self._process.wait()

    @property
    def has_reached(self) -> bool:
        """Whether it has died at its failpoint."""
        return (self._setting.folder / SAID).read_text().strip() == self._setting.failpoint

    def complaints(self) -> list[str]:
        lines = self._log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(each in line for each in _COMPLAINTS)]
