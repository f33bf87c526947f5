"""The worker's side: one activity after the other, until the hub hangs up."""

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from io import TextIOWrapper

from bide.app import Activity
from bide.errors import ConfigurationError
from bide.model.failure import failure_of
from bide.model.messages import TaskDone
from bide.runtime.activities import ActivityExecutor
from bide.runtime.processes.channel import Call, Channel, LogRecord, Setup, call_decoder, plain, setup_decoder

_GRACE_SECONDS = 2
"""How long an idle worker may take to end by itself, with its exit handlers, after the hub has gone."""

_NICENESS = 10
"""The hub goes first where cores are scarce: measured on two cores with two workers computing, 11,000 instead of 4,000
instances a second. A machine that has nothing else to do gives the workers all they want."""

_importing: str | None = None


def refuse_while_importing() -> None:
    """Raise `ConfigurationError` in a worker that is importing: a hub there would have workers that import, and so on."""
    if _importing is not None:
        raise ConfigurationError(
            f"A hub was started while a worker process imports {_importing}. "
            "Put what starts it below: if __name__ == '__main__':"
        )


def work(end: socket.socket) -> None:
    """Work until the hub hangs up."""
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl+C goes to the whole group; the hub says when its workers end
        signal.signal(number, lambda *_: None)
    os.nice(_NICENESS)
    channel = Channel(end)
    with contextlib.suppress(ConnectionError):  # the hub has gone without hanging up
        data = channel.receive()
        if data is not None:
            Worker(channel, setup_decoder.decode(data)).run()


class Worker:
    """Runs what comes over the channel."""

    def __init__(self, channel: Channel, setup: Setup) -> None:
        self._channel = channel
        self._places = setup.places
        self._activities: dict[str, Activity] = {}
        self._executor = ActivityExecutor(self._activities, setup.limit)
        self._is_busy = False
        sys.path[:] = map(os.fsdecode, setup.path)
        _print_whole_lines()
        _log_to(channel, setup.levels)
        threading.Thread(target=self._end_with_the_hub, name="bide-hub-watcher", daemon=True).start()

    def run(self) -> None:
        while (data := self._channel.receive()) is not None:
            self._is_busy = True
            self._channel.send(self._run(call_decoder.decode(data)))
            self._is_busy = False

    def _run(self, call: Call) -> TaskDone:
        try:
            self._import(call.task.name)
        except BaseException as error:  # noqa: BLE001  (the border to user code: whatever its module raises fails the task)
            instance_id, execution_id, task_id = call.key
            return TaskDone(
                instance_id=instance_id, execution_id=execution_id, task_id=task_id, failure=failure_of(error)
            )
        return self._executor.run(call.key, call.task)

    def _import(self, name: str) -> None:
        global _importing  # noqa: PLW0603  (what runs while a module is imported is not ours, and asks)
        if name in self._activities:
            return
        place = self._places[name]
        _importing = place.file or place.module
        try:
            self._activities[name] = Activity(name, place.find())
        except BaseException as error:
            message = f"A worker process cannot import activity {name!r} from {_importing}: {error}"
            raise ConfigurationError(message) from error
        finally:
            _importing = None

    def _end_with_the_hub(self) -> None:
        """End although an activity runs, when the hub has gone: it runs again where the hub is started again."""
        gone = select.poll()
        gone.register(self._channel, 0)  # a hang-up is always told
        gone.poll()
        if not self._is_busy:
            time.sleep(_GRACE_SECONDS)
        os._exit(1)


class _LogHandler(logging.Handler):
    """Hands records to the hub."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            trace = self.formatter.formatException(record.exc_info) if self.formatter and record.exc_info else None
            attributes = plain(vars(record)) | {"msg": text, "exc_text": trace or record.exc_text}
            self._channel.send(LogRecord(attributes))
        except Exception:  # noqa: BLE001  (as every handler of `logging`: what cannot be logged must not stop the program)
            self.handleError(record)


def _log_to(channel: Channel, levels: dict[str, int]) -> None:
    handler = _LogHandler(channel)
    handler.setFormatter(logging.Formatter())
    logging.root.addHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)

    def leave() -> None:
        """Let go of the socket in a process that user code forks: the hub must see when the worker itself is gone."""
        logging.root.removeHandler(handler)
        channel.let_go()

    os.register_at_fork(after_in_child=leave)


def _print_whole_lines() -> None:
    """Write each printed line at once, and as one piece, into the output that all share."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)
