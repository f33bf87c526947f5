"""Serves an ASGI app on a port, with uvicorn within the bounds of `connections`."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from bide.errors import ConfigurationError
from bide.http.access_log import hide_keys
from bide.http.auth import is_loopback
from bide.http.connections import KEEP_ALIVE_SECONDS, Connection, Doorkeeper, Limits, possible

DEFAULT_PORT = 7071
"""The port of the local Azure Functions tools."""
_TICKS_A_SECOND = 10
"""Of uvicorn's main loop."""


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
    limits: Limits | None = None,
    access_log: bool = False,
    log_level: str = "warning",
    on_started: Callable[[int], None] | None = None,
    on_stopping: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests under way and close `listener`.

    `on_started` is told the port; `on_stopping` is called when the signal comes.
    """
    config = uvicorn.Config(
        app, access_log=access_log, log_level=log_level, lifespan="off", ws="none",
        timeout_graceful_shutdown=10, timeout_keep_alive=KEEP_ALIVE_SECONDS, server_header=False,
    )  # fmt: skip
    if access_log:
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)  # whatever the level of the rest
        logging.getLogger("uvicorn.access").addFilter(hide_keys)
    with listener:
        await _Server(config, limits or Limits(), on_started, on_stopping).serve(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        limits: Limits,
        on_started: Callable[[int], None] | None,
        on_stopping: Callable[[], None] | None,
    ) -> None:
        super().__init__(config)
        self._doorkeeper = Doorkeeper(possible(limits), self.server_state.connections)
        protocol: Any = partial(Connection, doorkeeper=self._doorkeeper)
        config.http = protocol
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

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SECOND == 0:
            self._doorkeeper.look(time.monotonic())
        return await super().on_tick(counter)

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
