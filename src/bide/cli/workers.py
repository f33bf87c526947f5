"""`bide serve --workers N`: several processes behind one port, as nodes of one hub.

The first process opens the port, and starts the others, which run the same command with the open socket: whichever is free
takes a connection. The others come when the first of them serves: what keeps it from starting is said once, and ends the
command. A worker that dies is started anew; those that it leaves are served by the others meanwhile. When the
first process dies, all end: nobody would stop them, and they would keep the port.
"""

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

from bide.cli.exits import Exit
from bide.errors import ConfigurationError

_log = logging.getLogger("bide.workers")

_SOCKET_MARK = "BIDE_WORKER_SOCKET"
_NUMBER_MARK = "BIDE_WORKER_NUMBER"
_LIFELINE_MARK = "BIDE_WORKER_LIFELINE"
"""A pipe that only the first process could write to: it is at its end when that process is."""
_READINESS_MARK = "BIDE_WORKER_READINESS"
"""A pipe to the first process: worker 0 writes to it when it serves."""
_SHORTEST_LIFE = 5.0
"""Seconds; a worker that ends sooner will not do better the next time, so there is a pause before it."""
_EVERY = 0.2
_FINAL = frozenset({Exit.USAGE, Exit.STORE})
"""How a worker ends that could not start, and has said why."""


def is_worker() -> bool:
    """Whether this process is one of several, started by the first."""
    return _SOCKET_MARK in os.environ


def inherited_listener() -> socket.socket:
    """Take over, in a worker and once, the socket that the first process has opened; and end when it ends."""
    threading.Thread(target=_end_after, args=[int(os.environ[_LIFELINE_MARK])], daemon=True).start()
    return socket.socket(fileno=int(os.environ[_SOCKET_MARK]))


def _end_after(lifeline: int) -> None:
    os.read(lifeline, 1)
    _log.warning("the first process is gone, so this one ends")
    os.kill(os.getpid(), signal.SIGTERM)


def name_of(node: str | None) -> str | None:
    """Tell the workers of one command apart."""
    return f"{node}-{os.environ[_NUMBER_MARK]}" if node is not None and is_worker() else node


def is_first_worker() -> bool:
    """Whether this process is to say what is served: one of several does."""
    return os.environ.get(_NUMBER_MARK, "0") == "0"


def report_ready() -> None:
    """Let the first process start the other workers."""
    if is_worker():
        os.write(int(os.environ[_READINESS_MARK]), b".")


def check_store(store: str, workers: int) -> None:
    """Raise `ConfigurationError` unless so many processes may use the store at a time."""
    if workers > 1 and not store.startswith(("postgresql:", "postgres:")):
        raise ConfigurationError(
            f"{workers} workers need a store that processes share, and {store} belongs to one. "
            "Name one with --store postgresql://…, or leave --workers out; activities that compute get processes of their own "
            "with @app.activity(process=True)."
        )


def supervise(listener: socket.socket, workers: int) -> int:
    """Run ourselves so many times, until a signal comes."""
    is_over: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: is_over.append(received))
    os.set_inheritable(listener.fileno(), True)  # noqa: FBT003  (the standard library's)
    lifeline, _ = os.pipe()
    is_ready, readiness = os.pipe()
    inherited = {_SOCKET_MARK: listener.fileno(), _LIFELINE_MARK: lifeline, _READINESS_MARK: readiness}
    first = _Worker(0, inherited)
    while not is_over and first.process.poll() is None and not select.select([is_ready], [], [], _EVERY)[0]:
        pass
    code = first.process.poll()
    if code is not None and code in _FINAL:
        return code
    running = [first, *(_Worker(number, inherited) for number in range(1, workers))]
    while not is_over:
        time.sleep(_EVERY)
        for worker in running:
            worker.look_after()
    for worker in running:
        worker.process.terminate()
    codes = [worker.process.wait() for worker in running]
    return Exit.OK if not any(codes) else Exit.FAILED


class _Worker:
    """A process, and the one that comes after it."""

    def __init__(self, number: int, inherited: dict[str, int]) -> None:
        self._number = number
        self._inherited = inherited
        self._start()

    def _start(self) -> None:
        self._since = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bide", *sys.argv[1:]],
            env={
                **os.environ,
                **{name: str(each) for name, each in self._inherited.items()},
                _NUMBER_MARK: str(self._number),
            },
            pass_fds=list(self._inherited.values()),
            start_new_session=True,  # Ctrl-C is for the first process to pass on
        )

    def look_after(self) -> None:
        """Start it anew if it has ended."""
        code = self.process.poll()
        if code is None or time.monotonic() - self._since < _SHORTEST_LIFE:
            return
        _log.warning("worker %d (process %d) has ended with %d, starting it anew", self._number, self.process.pid, code)
        self._start()
