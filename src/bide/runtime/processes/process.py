"""The hub's side of one worker process."""

import contextlib
import logging
import signal
import socket
import subprocess
import sys

from bide.model.events import TaskScheduled
from bide.model.messages import TaskDone
from bide.runtime.jobs import JobKey
from bide.runtime.processes.channel import Call, Channel, LogRecord, Setup, told_decoder


class WorkerDiedError(Exception):
    """The worker process ended by itself. The message says how."""


class WorkerProcess:
    """A worker process. One thread calls it; any may end it."""

    def __init__(self, setup: Setup) -> None:
        """Start it. Raises `OSError` when the system cannot."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    # -P: files of the working directory must not take the place of what the worker imports
                    [sys.executable, "-P", "-m", "bide.runtime.processes", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                )
            except BaseException:
                ours.close()
                raise
        self._channel = Channel(ours)
        self._setup: Setup | None = setup
        self._is_busy = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def call(self, key: JobKey, task: TaskScheduled) -> TaskDone:
        """Run an activity, and log what it logs. Raises `WorkerDiedError` when it ends the process."""
        self._is_busy = True
        try:
            if self._setup is not None:
                self._channel.send(self._setup)
                self._setup = None
            self._channel.send(Call(key, task))
            while (data := self._channel.receive()) is not None:
                told = told_decoder.decode(data)
                if isinstance(told, TaskDone):
                    self._is_busy = False
                    return told
                _log(told)
        except OSError as error:
            raise WorkerDiedError(self._end_of_it()) from error
        raise WorkerDiedError(self._end_of_it())

    def hang_up(self) -> None:
        """Ask it to end, and do not ask long when it is computing: what it does will be done again."""
        if self._is_busy:
            self._process.kill()
        with contextlib.suppress(OSError):  # it is gone already
            self._channel.hang_up()

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, and see to it after so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._channel.close()

    def _end_of_it(self) -> str:
        """Say how it ended; it has closed its socket, which a live one does not."""
        self.wait(1)
        code = self._process.returncode
        if code >= 0:
            return f"ended with exit code {code}"
        hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return f"was killed by signal {-code} ({signal.strsignal(-code)}){hint}"


def _log(told: LogRecord) -> None:
    record = logging.makeLogRecord(told.attributes)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
