"""`bide serve`: an app, a store and an HTTP port, until a signal comes."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.markup import escape

from bide.app import App
from bide.cli import render
from bide.cli.exits import Exit
from bide.cli.loading import load_app
from bide.cli.target import default_store
from bide.client.paths import BASE
from bide.http.server import DEFAULT_PORT, listen, serve
from bide.hub import Hub
from bide.runtime.engine import DEFAULT_MAX_PAYLOAD_BYTES, DEFAULT_THREADS

_RELOAD_MARK = "BIDE_RELOADED"


def serve_app(
    app: str,
    /,
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = DEFAULT_PORT,
    hub: str = "bide",
    key: Annotated[str | None, Parameter(env_var="BIDE_KEY")] = None,
    store: Annotated[str | None, Parameter(env_var="BIDE_STORE")] = None,
    retention_days: float | None = None,
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
    activity_threads: int = DEFAULT_THREADS,
    reload: bool = False,
    access_log: bool = False,
    log_level: Literal["debug", "info", "warning", "error"] = "warning",
) -> int:
    """Serve an app.

    Parameters
    ----------
    app
        The app: app.py, folder/app.py or package.module, with :name when there are several.
    host
        Address to listen on; one that others can reach needs a key.
    port
        Port to listen on; 0 lets the system choose.
    hub
        Name of the hub, shown in management URLs.
    key
        What requests must carry as ?code=… or in the header x-functions-key.
    store
        Where instances live: sqlite:///file.db (relative), sqlite:////path/file.db (absolute) [sqlite:///bide.db].
    retention_days
        Remove instances that ended so many days ago, and dead letters of that age. Without it they are kept.
    max_payload_bytes
        Largest input, result or event data, as JSON.
    activity_threads
        How many plain functions, activities and entities, run at a time.
    reload
        Start again whenever a .py file below the app's folder changes.
    access_log
        Log every request.
    log_level
        debug, info, warning or error.

    """
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if reload and not os.environ.get(_RELOAD_MARK):
        return _supervise(Path(app.partition(":")[0]))
    loaded = load_app(app)
    listener = listen(host, port, key=key)
    running = Hub(
        loaded,
        store or default_store(),
        name=hub,
        retention=timedelta(days=retention_days) if retention_days is not None else None,
        max_payload_bytes=max_payload_bytes,
        activity_threads=activity_threads,
    )
    _run(_serve(running, loaded, listener, host, key, access_log=access_log, log_level=log_level))
    return Exit.OK


async def _serve(
    hub: Hub, app: App, listener: socket.socket, host: str, key: str | None, *, access_log: bool, log_level: str
) -> None:
    async with hub:
        api = hub.asgi(key=key)
        await serve(
            api,
            listener,
            access_log=access_log,
            log_level=log_level,
            on_started=lambda actual: _announce(app, hub, f"http://{host}:{actual}", has_key=key is not None),
            on_stopping=api.stop_waiting,
        )


def _announce(app: App, hub: Hub, url: str, *, has_key: bool) -> None:
    code = "?code=KEY" if has_key else ""
    name = next(iter(app.orchestrators), "ORCHESTRATOR")
    console = render.console()
    console.print(f"[bold]bide[/] serves {escape(hub.name)} on [bold]{url}[/]")
    console.print(f"  store          {escape(hub.location)}")
    console.print(f"  orchestrators  {escape(', '.join(app.orchestrators)) or 'none'}")
    console.print(f"  activities     {escape(', '.join(app.activities)) or 'none'}")
    if app.entities:
        console.print(f"  entities       {escape(', '.join(app.entities))}")
    console.print(f"  start one      curl -X POST '{url}{BASE}/orchestrators/{name}{code}'")


def _run(main: "asyncio.Future[None] | object") -> None:
    try:
        import uvloop  # noqa: PLC0415  (not there on every platform)
    except ImportError:
        asyncio.run(main)  # type: ignore[arg-type]
    else:
        uvloop.run(main)  # type: ignore[arg-type]


def _supervise(app: Path) -> int:
    """Run ourselves again, anew whenever a file changes; the child does the work."""
    folder = app.parent if app.suffix == ".py" else Path()
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
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.py") if ".venv" not in path.parts}
