"""What the machine does by itself, measured in the same run as the engines."""

import asyncio
import tempfile
from pathlib import Path

from bench.http import running, spread
from bench.limits import commits_per_second, fsync_ms
from bench.peers.contestants import Kind
from bench.peers.environments import ROOT
from bench.peers.postgresql import Server
from bench.peers.trials import IN_FLIGHT, Figures

_REQUESTS = 10_000


def limits(kinds: set[Kind], server: Server | None) -> Figures:
    """Return rates per second, and the milliseconds of an fdatasync."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix="bench-") as name:
        found = {"fdatasync": fsync_ms(Path(name)), "sqlite": commits_per_second(Path(name))}
    if Kind.SERVED in kinds:
        found["requests"] = asyncio.run(_requests_per_second())
    if server is not None:
        found["postgresql"] = server.commits_per_second()
    return found


def sentence(kind: Kind, found: Figures) -> str:
    """Say which limits matter for engines of a kind."""
    disk = f"fdatasync of 4 KiB {found['fdatasync']:.2f} ms"
    if kind is Kind.POSTGRESQL:
        return f"{disk}; PostgreSQL {_commits(found['postgresql'])}, one client"
    if kind is Kind.SERVED:
        return (
            f"{disk}; SQLite {_commits(found['sqlite'])}; an app that does nothing, {found['requests']:,.0f} requests/s"
        )
    return f"{disk}; SQLite {_commits(found['sqlite'])}"


def _commits(rate: float) -> str:
    return f"{rate:,.0f} commits/s ({1000 / rate:.2f} ms each)"


async def _requests_per_second() -> float:
    module = ["uvicorn", "bench.http:bare", "--port", "0", "--lifespan", "off", "--no-access-log"]
    async with running(module, IN_FLIGHT) as connections:
        rate, _ = await spread(connections, lambda each: each.raise_event("x", "e"), _REQUESTS)
    return rate
