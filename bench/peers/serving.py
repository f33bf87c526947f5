"""Processes that an engine needs beside the caller's: started, watched, and ended by their id."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Self, TypeVar

_PATIENCE = 60.0

_Answer = TypeVar("_Answer")


class Server:
    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, command: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[Self]:
        """Run a command, all that it says in a file, and end it by SIGTERM."""
        with log.open("wb") as output:
            server = cls(
                await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=environment
                ),
                log,
            )
        try:
            yield server
        finally:
            await server.end(signal.SIGTERM)

    async def end(self, how: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(how)
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def check(self) -> None:
        if self._process.returncode is not None:
            raise RuntimeError(f"ended with {self._process.returncode}: {self.log.read_text()[-2000:]}")


async def said(server: Server, what: str) -> str:
    """Return the line of the server's output with `what` in it, once it is there."""

    async def line() -> str | None:
        return next((each for each in server.log.read_text().splitlines() if what in each), None)

    return await until(line, server)


async def until(ask: Callable[[], Awaitable[_Answer | None]], server: Server) -> _Answer:
    """Ask again and again until there is an answer; a server that went away is an error."""
    deadline = time.monotonic() + _PATIENCE
    while (answer := await ask()) is None:
        server.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready after {_PATIENCE:.0f} s: {server.log.read_text()[-2000:]}")
        await asyncio.sleep(0.01)
    return answer
