"""What hub and worker tell each other over their socket: MessagePack behind four bytes of length."""

import os
import socket
import threading
from typing import Any

import msgspec

from bide.app.importing import FunctionPlace
from bide.model.events import TaskScheduled
from bide.model.messages import TaskDone
from bide.runtime.jobs import JobKey

_LENGTH_BYTES = 4


class Setup(msgspec.Struct, frozen=True):
    """The first thing that a worker hears: where it is, and what it may have to run.

    `path` is the hub's `sys.path` (bytes: it may hold any file name), `levels` what its loggers are set to, `places` where
    the activities stand, by name, and `limit` the largest result in bytes.
    """

    path: list[bytes]
    levels: dict[str, int]
    places: dict[str, FunctionPlace]
    limit: int


class Call(msgspec.Struct, frozen=True):
    """Run an activity. The worker answers with one `TaskDone`."""

    key: JobKey
    task: TaskScheduled


class LogRecord(msgspec.Struct, frozen=True, tag=True):
    """Something was logged in the worker: the record's attributes, as far as they are plain values."""

    attributes: dict[str, str | int | float | bool | None]


Told = TaskDone | LogRecord
"""What a worker tells."""

setup_decoder = msgspec.msgpack.Decoder(Setup)
call_decoder = msgspec.msgpack.Decoder(Call)
told_decoder: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)
_encoder = msgspec.msgpack.Encoder()


class Channel:
    """One end of the socket. Any thread may send; one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._file = end.makefile("rb")
        self._sending = threading.Lock()

    def send(self, message: Setup | Call | Told) -> None:
        """Raise `OSError` when nobody is at the other end."""
        data = _encoder.encode(message)
        with self._sending:
            self._socket.sendall(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    def receive(self) -> bytes | None:
        """Wait for a message; None when the other end is closed. Raises `OSError` when it is broken."""
        head = self._file.read(_LENGTH_BYTES)
        length = int.from_bytes(head, "big")
        data = self._file.read(length)
        return data if len(head) == _LENGTH_BYTES and len(data) == length else None

    def hang_up(self) -> None:
        """Let the other end know that nothing follows."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def let_go(self) -> None:
        """Close it in a forked process, in which nobody is there to give back a lock that was held."""
        os.close(self._socket.detach())

    def fileno(self) -> int:
        return self._socket.fileno()


def plain(attributes: dict[str, Any]) -> dict[str, str | int | float | bool | None]:
    """Keep what can be sent."""
    return {key: value for key, value in attributes.items() if isinstance(value, str | int | float | bool | None)}
