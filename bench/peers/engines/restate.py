"""Restate: its server, the services under hypercorn, and a client on the server's HTTP ingress.

Named events are durable promises of a workflow, resolved by a handler of the workflow, as its documentation has it. The
consumer of many events is a virtual object, Restate's own shape for that: one invocation for each event.
"""

import contextlib
import importlib.metadata
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from bench.peers.connection import Connections
from bench.peers.engine import Engine, Place, Scale
from bench.peers.serving import Server, until

PARTITIONS = 4
WORKERS = 1

SCALE = Scale(approvals=3_000, singles=300, parked=1_000, events=2_000, chains=5, chains_together=64, fan_outs=3)

_HYPERCORN = """
bind = "127.0.0.1:{port}"
h2_max_concurrent_streams = 2147483647
keep_alive_max_requests = 2147483647
keep_alive_timeout = 2147483647
workers = {workers}
"""


def version() -> str:
    package = Path(sys.prefix) / "node_modules/@restatedev/restate-server/package.json"
    return str(json.loads(package.read_text())["version"])


def settings(_: str) -> str:
    sdk, hypercorn = (importlib.metadata.version(name) for name in ("restate-sdk", "hypercorn"))
    return (
        f"server with {PARTITIONS} partitions (default: 24, slower on two cores) and its log fsynced as by default; Python "
        f"SDK {sdk} under hypercorn {hypercorn} with the documented production settings and {WORKERS} worker; client over HTTP"
    )


class Restate:
    def __init__(self, ingress: Connections, servers: list[Server]) -> None:
        self._ingress = ingress
        self._servers = servers

    async def start(self, workflow: str, size: int) -> str:
        key = uuid.uuid4().hex
        if workflow != "consumer":
            await self._post(f"/{workflow}/{key}/run/send", size)
        return f"{workflow}/{key}"

    async def raise_event(self, instance_id: str, name: str, number: int) -> None:
        send = "/send" if instance_id.startswith("consumer/") else ""
        await self._post(f"/{instance_id}/{name}{send}", number)

    async def completed(self, instance_id: str) -> None:
        if instance_id.startswith("consumer/"):  # the object answers once it has done all that came before
            method, path = "POST", f"/{instance_id}/consumed"
        else:
            method, path = "GET", f"/restate/workflow/{instance_id}/attach"
        status, answer = await self._ingress.request(method, path)
        assert status == 200, answer

    async def kill(self) -> None:
        for server in self._servers:
            await server.end(signal.SIGKILL)

    async def _post(self, path: str, value: int) -> None:
        status, answer = await self._ingress.request("POST", path, str(value).encode())
        assert status in {200, 202}, answer


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Engine]:
    ports = _ports(place.folder)
    async with (
        Server.running(_services(place.folder, ports), place.folder / "services.log") as services,
        Server.running([str(_binary()), "--no-logo"], place.folder / "server.log", _settings(place, ports)) as server,
    ):
        await _register(Connections(ports["admin"]), ports["services"], server, services)
        ingress = Connections(ports["ingress"])
        yield Restate(ingress, [server, services])
        await ingress.close()


def _services(folder: Path, ports: dict[str, int]) -> list[str]:
    settings = folder / "hypercorn.toml"
    settings.write_text(_HYPERCORN.format(port=ports["services"], workers=WORKERS))
    return [sys.executable, "-m", "hypercorn", "--config", str(settings), "bench.peers.engines.restate_service:app"]


def _settings(place: Place, ports: dict[str, int]) -> dict[str, str]:
    return os.environ | {
        "RESTATE_BASE_DIR": str(place.folder / "data"),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_BIND_PORT": str(ports["node"]),
        "RESTATE_INGRESS__BIND_PORT": str(ports["ingress"]),
        "RESTATE_ADMIN__BIND_PORT": str(ports["admin"]),
        "RESTATE_ADVERTISED_HOST": "127.0.0.1",
        "RESTATE_NODE_NAME": "bench",
        "RESTATE_DEFAULT_NUM_PARTITIONS": str(PARTITIONS),
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "warn",
    }


async def _register(admin: Connections, port: int, *servers: Server) -> None:
    """Tell the server where the services are; it answers once it has asked them."""

    async def ask() -> bool | None:
        for each in servers:
            each.check()
        try:
            status, _ = await admin.request(
                "POST", "/deployments", json.dumps({"uri": f"http://127.0.0.1:{port}"}).encode()
            )
        except OSError:
            return None
        return True if status in {200, 201} else None

    await until(ask, servers[0])
    await admin.close()


def _ports(folder: Path) -> dict[str, int]:
    """Free ports, the same again for a second start on a folder."""
    file = folder / "ports.json"
    if not file.exists():
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
            numbers = [each.getsockname()[1] for each in sockets]
        file.write_text(json.dumps(dict(zip(("node", "ingress", "admin", "services"), numbers, strict=True))))
    return json.loads(file.read_text())


def _binary() -> Path:
    return next(Path(sys.prefix).glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
