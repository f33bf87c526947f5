"""`bide serve FOLDER`: an Azure Functions app, a store and an HTTP port, until a signal comes."""

import logging
import os
import socket
from dataclasses import replace
from pathlib import Path

from rich.markup import escape

from bide.cli import render
from bide.cli.exits import Exit
from bide.cli.serve import Options, address, own_address, run
from bide.cli.target import default_store
from bide.cli.workers import is_first_worker, report_ready, supervise
from bide.client.paths import BASE
from bide.errors import ConfigurationError
from bide.functions.asgi import FunctionsAsgi
from bide.functions.host import FunctionHost
from bide.functions.indexing import is_function_app
from bide.functions.loading import FunctionApp, load_function_app
from bide.http.auth import is_loopback
from bide.http.server import serve
from bide.hub import Hub

_SQLITE = "sqlite:///"


def serve_functions(folder: Path, options: Options) -> int:
    """Serve the app in `folder`. The default store stands in that folder."""
    if not is_function_app(folder):
        raise ConfigurationError(
            f"{folder.resolve()} is not a Functions app: it has no host.json, function_app.py or */function.json. "
            + (
                f"Did you mean: bide serve {folder / 'app.py'}?"
                if (folder / "app.py").is_file()
                else "To serve an app of bide's own name its file, as app.py."
            )
        )
    if options.log_level is None:
        _show_logs_of_the_app()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines show whole addresses, and the keys in them
    if not options.enable_auth and not is_loopback(options.host):
        raise ConfigurationError(
            f"{options.host} can be reached from elsewhere, and everybody could call the app's functions: "
            "pass --enable-auth, so that their authLevel counts. Or serve on 127.0.0.1."
        )
    options = replace(options, store=_absolute(options.store or os.environ.get("BIDE_STORE")))
    loaded = load_function_app(folder, uses_sdk=options.sdk == "installed")
    listener = options.listen(default_port=loaded.settings.port, key="its own" if options.enable_auth else None)
    if options.is_supervisor:
        return supervise(listener, options.workers)
    hub = options.make_hub(
        loaded.app, store=_absolute(default_store()) or "", name=loaded.settings.hub_name, threads=loaded.threads
    )
    run(_serve(loaded, hub, listener, options))
    return Exit.OK


async def _serve(loaded: FunctionApp, hub: Hub, listener: socket.socket, options: Options) -> None:
    port = listener.getsockname()[1]
    url = address(options.host, port)
    host = FunctionHost(
        loaded, hub, origin=own_address(options.host, port), key=options.key, checks_keys=options.enable_auth
    )
    async with host, hub, host.triggers():
        management = hub.asgi(key=host.key, opens=host.opens_management)
        await serve(
            FunctionsAsgi(host, management, hub.asgi(opens=lambda _: True)),
            listener,
            limits=options.limits,
            access_log=options.access_log,
            log_level=options.log_level or "warning",
            on_started=lambda _: _announce(host, url),
            on_stopping=management.stop_waiting,
        )


def _show_logs_of_the_app() -> None:
    """Show what functions log from info on, as Azure's tools do; of libraries only warnings: they log requests."""
    logging.getLogger().setLevel(logging.INFO)
    for library in ("bide", "azure", "httpx", "asyncio", "faststream"):
        logging.getLogger(library).setLevel(logging.WARNING)


def _announce(host: FunctionHost, url: str) -> None:
    if not is_first_worker():
        return
    console = render.console()
    app = host.loaded.app
    console.print(f"[bold]bide[/] serves {escape(host.loaded.settings.root.name)} on [bold]{url}[/]")
    console.print(f"  store          {escape(host.hub.location)}")
    for route in host.routes.routes:
        methods = ",".join(sorted(route.methods)) or "ANY"
        console.print(
            f"  http           {methods} {url}{escape(host.routes.prefix + route.url.lstrip('/'))}  ({route.function.name})"
        )
    for kind, name, heard in host.listening:
        console.print(f"  {kind:14} {escape(heard)}  ({escape(name)})")
    console.print(f"  orchestrators  {escape(', '.join(app.orchestrators)) or 'none'}")
    console.print(f"  activities     {escape(', '.join(app.activities)) or 'none'}")
    if app.entities:
        console.print(f"  entities       {escape(', '.join(app.entities))}")
    console.print(f"  rules          of SDK {'1.x' if app.is_v1 else '2.x'}")
    console.print(f"  management     {url}{BASE}")
    if host.keys is not None and not host.new_keys:
        console.print("  keys           were made, and shown, earlier; 'bide keys rotate NAME' makes a new one")
    for name, key in host.new_keys.items():
        console.print(f"  new key        {escape(name)}  {key}")
    for problem in host.problems:
        console.print(f"[yellow]warning[/] {escape(str(problem))}")
    console.print("ready, stop with Ctrl+C")
    report_ready()


def _absolute(store: str | None) -> str | None:
    """Fix a relative path to where the command was given: the app's folder becomes the working directory."""
    if store is None or not store.startswith(_SQLITE):
        return store
    return f"{_SQLITE}{Path(store.removeprefix(_SQLITE)).absolute()}"
