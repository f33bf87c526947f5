"""Serves an ASGI app on a port, with uvicorn."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from bide.errors import ConfigurationError
from bide.http.auth import is_loopback

DEFAULT_PORT = 7071
"""The port of the local Azure Functions tools."""


def listen(host: str, port: int, *, key: str | None) -> socket.socket:
    """Listen on an address; port 0 lets the system choose one.

    Raises `ConfigurationError` when the address is not this machine's own and there is no `key`, or cannot be had.
    """
    if not key and not is_loopback(host):
        raise ConfigurationError(
            f"{host} can be reached from elsewhere, so a key is needed: pass --key, or set BIDE_KEY. Or serve on 127.0.0.1."
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --host and --port."
        ) from error


async def serve(
    app: Any,
    listener: socket.socket,
    *,
    access_log: bool = False,
    log_level: str = "warning",
    on_started: Callable[[int], None] | None = None,
    on_stopping: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests under way and close `listener`.

    `on_started` is told the port; `on_stopping` is called when the signal comes.
    """
    config = uvicorn.Config(
        app, access_log=access_log, log_level=log_level, lifespan="off",
        timeout_graceful_shutdown=10, timeout_keep_alive=75, server_header=False,
    )  # fmt: skip
    if access_log:
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)  # whatever the level of the rest
    with listener:
        await _Server(config, on_started, on_stopping).serve(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        on_started: Callable[[int], None] | None,
        on_stopping: Callable[[], None] | None,
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_stopping = on_stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._on_stopping is not None:
            self._on_stopping()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_started is not None and sockets:
            self._on_started(sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Stop on a signal, and leave it at that: uvicorn would raise it once more, past our own clean-up."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
