"""`bide serve`: an app, a store and an HTTP port, until a signal comes."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.markup import escape

from bide.app import App
from bide.cli import render
from bide.cli.exits import Exit
from bide.cli.loading import load_app
from bide.cli.target import default_store
from bide.cli.workers import (
    check_store,
    inherited_listener,
    is_first_worker,
    is_worker,
    name_of,
    report_ready,
    supervise,
)
from bide.client.paths import BASE
from bide.http.connections import Limits
from bide.http.server import DEFAULT_PORT, listen, serve
from bide.hub import Hub
from bide.model.nodes import NodeRole
from bide.runtime.engine import DEFAULT_LEASE, DEFAULT_MAX_PAYLOAD_BYTES, DEFAULT_MAX_RESIDENT, DEFAULT_THREADS

_RELOAD_MARK = "BIDE_RELOADED"
_ALL = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104  (addresses to listen on, which nobody can be sent to)


def serve_app(
    app: str = ".",
    /,
    *,
    host: str = "127.0.0.1",
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=65_535))] = None,
    hub: str | None = None,
    key: Annotated[str | None, Parameter(env_var="BIDE_KEY")] = None,
    store: Annotated[str | None, Parameter(env_var="BIDE_STORE")] = None,
    workers: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    role: Literal["all", "orchestrations", "activities"] = "all",
    node: str | None = None,
    lease_seconds: Annotated[float, Parameter(validator=Number(gte=1))] = DEFAULT_LEASE.total_seconds(),
    retention_days: float | None = None,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
    max_connections: Annotated[int, Parameter(validator=Number(gte=1))] = Limits.connections,
    request_timeout: Annotated[float, Parameter(validator=Number(gt=0))] = Limits.seconds,
    activity_threads: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    activity_processes: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    replay_every_turn: bool = False,
    enable_auth: bool = False,
    sdk: Literal["own", "installed"] = "own",
    reload: bool = False,
    access_log: bool = False,
    log_level: Literal["debug", "info", "warning", "error"] | None = None,
) -> int:
    """Serve an app: bide's own, or a Durable Functions app as it was written for Azure.

    Parameters
    ----------
    app
        The app: app.py, folder/app.py or package.module, with :name when there are several; or the folder of an
        Azure Functions app.
    host
        Address to listen on; one that others can reach needs a key.
    port
        Port to listen on [7071]; 0 lets the system choose.
    hub
        Name of the hub, shown in management URLs [bide, or hubName of host.json].
    key
        What requests must carry as ?code=… or in the header x-functions-key.
    store
        Where instances live: sqlite:///file.db (relative), sqlite:////path/file.db (absolute) [sqlite:///bide.db].
    workers
        How many processes serve the port, as nodes of one hub; more than one needs a store that they can share.
    role
        What this node takes on, of several on one store: all; orchestrations, and leave activities to others; or
        activities only. Every node answers requests.
    node
        Name of this node in 'bide nodes' [host:process].
    lease_seconds
        How long after its death a node's share goes to the others.
    retention_days
        Remove instances that ended so many days ago, and dead letters of that age. Without it they are kept.
    max_payload_bytes
        Largest input, result or event data, as JSON.
    max_connections
        How many connections may be open. One that is idle, or slow to send its request, makes room for a new one; when
        there is none, the new one is answered 503.
    request_timeout
        Seconds that the head of a request may take to arrive. The body may take longer while 8 KiB a second come.
    activity_threads
        How many plain functions, activities and entities, run at a time [32].
    activity_processes
        How many worker processes run the activities with process=True [one for each core]; 0: they run on threads.
    replay_every_turn
        Keep no instance in memory between turns: code runs again from its history each time, as on Azure, and is
        checked for determinism.
    enable_auth
        Functions app: ask for the keys that the functions' authLevel says. They are made, and shown, at the first start.
    sdk
        Functions app: own, bide's own azure.durable_functions; or installed, the released package 1.x, for apps that
        reach into its insides.
    reload
        Start again whenever a .py or .json file below the app's folder changes.
    access_log
        Log every request.
    log_level
        debug, info, warning or error [warning; of a Functions app's own code info].

    """
    logging.basicConfig(
        level=(log_level or "warning").upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if reload and not os.environ.get(_RELOAD_MARK):
        return _supervise(Path(app.partition(":")[0]))
    check_store(store or default_store(), workers)
    options = Options(
        workers=workers, role=NodeRole(role), node=node, lease=timedelta(seconds=lease_seconds),
        host=host, port=port, hub=hub, key=key, store=store, max_payload_bytes=max_payload_bytes,
        retention=timedelta(days=retention_days) if retention_days is not None else None,
        activity_threads=activity_threads, activity_processes=activity_processes,
        max_resident=0 if replay_every_turn else DEFAULT_MAX_RESIDENT, limits=Limits(max_connections, request_timeout),
        enable_auth=enable_auth, sdk=sdk, access_log=access_log, log_level=log_level,
    )  # fmt: skip
    if Path(app).is_dir():
        from bide.cli.functions import serve_functions  # noqa: PLC0415  (needs an extra)

        return serve_functions(Path(app), options)
    loaded = load_app(app)
    listener = options.listen()
    if options.is_supervisor:
        return supervise(listener, options.workers)
    running = options.make_hub(loaded, store=default_store(), name="bide", threads=DEFAULT_THREADS)
    run(_serve(running, loaded, listener, options))
    return Exit.OK


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `bide serve` was told; None: nothing."""

    workers: int
    role: NodeRole
    node: str | None
    lease: timedelta
    host: str
    port: int | None
    hub: str | None
    key: str | None
    store: str | None
    max_payload_bytes: int
    retention: timedelta | None
    activity_threads: int | None
    activity_processes: int | None
    max_resident: int
    limits: Limits
    enable_auth: bool
    sdk: str = "own"
    access_log: bool
    log_level: str | None

    @property
    def is_supervisor(self) -> bool:
        """Whether other processes do the work."""
        return self.workers > 1 and not is_worker()

    def listen(self, *, default_port: int = DEFAULT_PORT, key: str | None = None) -> socket.socket:
        if is_worker():
            return inherited_listener()
        port = default_port if self.port is None else self.port
        return listen(self.host, port, key=self.key or key)

    def make_hub(self, app: App, *, store: str, name: str, threads: int) -> Hub:
        """Make the hub; the arguments stand for what was not told."""
        return Hub(
            app,
            self.store or store,
            name=self.hub or name,
            retention=self.retention,
            node=name_of(self.node),
            role=self.role,
            lease=self.lease,
            max_payload_bytes=self.max_payload_bytes,
            max_resident=self.max_resident,
            activity_threads=self.activity_threads or threads,
            activity_processes=self.activity_processes,
        )


async def _serve(hub: Hub, app: App, listener: socket.socket, options: Options) -> None:
    async with hub:
        api = hub.asgi(key=options.key)
        has_key = options.key is not None
        await serve(
            api,
            listener,
            limits=options.limits,
            access_log=options.access_log,
            log_level=options.log_level or "warning",
            on_started=lambda actual: _announce(app, hub, options.host, actual, has_key=has_key),
            on_stopping=api.stop_waiting,
        )


def address(host: str, port: int) -> str:
    """The URL of what listens there."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def own_address(host: str, port: int) -> str:
    """A URL that this machine can ask."""
    return address("127.0.0.1" if host in _ALL else host, port)


def _announce(app: App, hub: Hub, host: str, port: int, *, has_key: bool) -> None:
    if not is_first_worker():
        return
    code = "?code=KEY" if has_key else ""
    name = next(iter(app.orchestrators), "ORCHESTRATOR")
    console = render.console()
    console.print(f"[bold]bide[/] serves {escape(hub.name)} on [bold]{address(host, port)}[/]")
    console.print(f"  store          {escape(hub.location)}")
    console.print(f"  orchestrators  {escape(', '.join(app.orchestrators)) or 'none'}")
    console.print(f"  activities     {escape(', '.join(app.activities)) or 'none'}")
    if app.entities:
        console.print(f"  entities       {escape(', '.join(app.entities))}")
    console.print(f"  start one      curl -X POST '{own_address(host, port)}{BASE}/orchestrators/{name}{code}'")
    report_ready()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, on uvloop where there is one."""
    try:
        import uvloop  # noqa: PLC0415  (not there on every platform)
    except ImportError:
        asyncio.run(_stoppable(main))
    else:
        uvloop.run(_stoppable(main))


async def _stoppable(main: Coroutine[Any, Any, None]) -> None:
    """Let SIGTERM stop in order what has not come to serving yet: a hub that has started gives back what it owns."""
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        running.cancel()

    running = asyncio.ensure_future(main)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)  # until the server sets its own
    try:
        await running
    except asyncio.CancelledError:
        if not stopped:
            raise


def _supervise(app: Path) -> int:
    """Run ourselves again, anew whenever a file changes; the child does the work."""
    folder = app.parent if app.suffix == ".py" else app if app.is_dir() else Path()
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    while True:
        child = subprocess.Popen([sys.executable, "-m", "bide", *sys.argv[1:]], env={**os.environ, _RELOAD_MARK: "1"})
        before = _stamps(folder)
        try:
            while child.poll() is None and not stop and _stamps(folder) == before:
                time.sleep(0.5)
        except KeyboardInterrupt:
            stop.append(True)
        if child.poll() is None:
            child.terminate()
        code = child.wait()
        if stop:
            return Exit.OK
        if code != 0 and _stamps(folder) == before:
            while _stamps(folder) == before:  # it could not start: wait for the mistake to be mended
                time.sleep(0.5)


def _stamps(folder: Path) -> dict[Path, int]:
    paths = (path for pattern in ("*.py", "*.json") for path in folder.rglob(pattern) if ".venv" not in path.parts)
    return {path: path.stat().st_mtime_ns for path in paths}
