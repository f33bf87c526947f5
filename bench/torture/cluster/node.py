"""A node as a process of its own: `bide serve` with the torture's app."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_START_SECONDS = 30
_END_SECONDS = 30
_COMPLAINTS = ("Traceback", "please report", "unexpected error", "never retrieved", "never awaited", "pending!")
"""What a node must never have to say, whatever it goes through."""
_ROOT = Path(__file__).parents[3]
_URL = re.compile(r"on (http://[^ ]+)\s")


class Node:
    """A running `bide serve`. `name` is what the others know it by, and `url` where it answers."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self.url = ""
        self.said = ""
        self._process = process
        self._drain: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, name: str, folder: Path, arguments: list[str], env: Mapping[str, str] | None = None) -> "Node":
        """Run `bide serve` with these arguments, on a port of its own, until it serves; its log is a file in `folder`."""
        path = folder / f"{name}.log"
        with path.open("a") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bide", "serve", *arguments, "--port", "0", "--node", name,
                "--log-level", "info", "--access-log",
                stdout=asyncio.subprocess.PIPE, stderr=stderr, cwd=_ROOT, env={**os.environ, **(env or {})},
            )  # fmt: skip
        node = cls(name, process, path)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await node._read_url()
        except BaseException:
            await node.kill()
            raise
        return node

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        if self.is_running:
            self._process.send_signal(number)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self._ended()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Let it close; its exit code."""
        self.send(number)
        try:
            async with asyncio.timeout(_END_SECONDS):
                return await self._ended()
        except TimeoutError:
            await self.kill()
            raise

    def complaints(self) -> list[str]:
        lines = self.log.read_text(errors="replace").splitlines()
        return [f"{self.name} said: {line}" for line in lines if any(each in line for each in _COMPLAINTS)]

    async def _read_url(self) -> None:
        assert self._process.stdout is not None
        while not (found := _URL.search(self.said)):
            line = await self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"{self.name} could not start: {self.said}{self.log.read_text()}")
            self.said += line.decode()
        self.url = found[1]
        self._drain = asyncio.create_task(self._read_on())

    async def _read_on(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.said += line.decode()

    async def _ended(self) -> int:
        code = await self._process.wait()
        if self._drain is not None:
            await self._drain
        return code
