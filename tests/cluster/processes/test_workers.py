"""`bide serve --workers 2`: one port, several processes behind it, as nodes of one hub."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest
from bench.torture.cluster.node import Node
from tests.cluster.processes.conftest import database_of

import bide
from bide.cli import run
from bide.cli.exits import Exit
from bide.model.partitions import partition_of

APP = """
import bide

app = bide.App()

@app.orchestrator
def gate(context):
    return (yield context.wait_for_external_event("Approval"))
"""


@pytest.fixture
def app_file(tmp_path):
    path = tmp_path / "gate.py"
    path.write_text(APP)
    return path


@pytest.fixture
async def served(tmp_path, app_file, postgres, schema):
    options = ["--workers", "2", "--store", postgres.url(schema), "--lease-seconds", "1"]
    node = await Node.start("w", tmp_path, [str(app_file), *options])
    yield node
    workers = children(node)
    await node.kill()
    for pid in filter(is_alive, workers):
        os.kill(pid, signal.SIGKILL)


def children(node):
    path = Path(f"/proc/{node.pid}/task/{node.pid}/children")
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


async def ask(node, method="GET", path="/healthz"):
    """Ask on a connection of its own, which any worker may take; again when it is the one that dies."""
    while True:
        try:
            async with httpx.AsyncClient(base_url=node.url, timeout=10) as http:
                return await http.request(method, path)
        except httpx.TransportError:
            await asyncio.sleep(0)


async def start_one(node):
    return (await ask(node, "POST", "/runtime/webhooks/durabletask/orchestrators/gate")).json()["id"]


async def until(is_so):
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_both_serve_the_port(served, postgres, schema):
    """The first says what is served, once; new instances come to life in both; SIGTERM ends all."""
    database = database_of(postgres, schema)
    await database.shared_out(["w-0", "w-1"])
    owned = {name: set(await database.owned(name)) for name in ("w-0", "w-1")}
    served_by = set()
    async with asyncio.timeout(20):
        while len(served_by) < 2:
            partition = partition_of(await start_one(served), 32)
            served_by.update(name for name, partitions in owned.items() if partition in partitions)
    workers = children(served)
    assert await served.stop() == 0
    assert served.said.count("serves") == 1
    assert len(workers) == 2
    assert not any(map(is_alive, workers))
    assert await database.left() == []
    assert served.complaints() == []


async def test_a_worker_is_killed(served, postgres, schema):
    """The other one answers, also for the instances of the dead; a new worker comes; Ctrl-C ends all."""
    database = database_of(postgres, schema)
    await database.shared_out(["w-0", "w-1"])
    async with bide.connect(served.url) as client:
        ids = [await client.start_new("gate", f"i{number}") for number in range(8)]
    victim, other = children(served)
    os.kill(victim, signal.SIGKILL)
    assert (await ask(served)).status_code == 200
    async with bide.connect(served.url, timeout=20) as client:
        for instance_id in ids:
            await patiently(client.raise_event, instance_id, "Approval", 1, event_id="e")
            assert (await patiently(client.wait_for_completion, instance_id)).output == 1
    await until(lambda: len(children(served)) == 2 and victim not in children(served))
    assert other in children(served)
    await database.shared_out(["w-0", "w-1"])
    assert await served.stop(signal.SIGINT) == 0
    assert "has ended with -9, starting it anew" in served.log.read_text()
    assert served.complaints() == []


async def test_the_first_process_is_killed(served, postgres, schema):
    """The workers end too, in order: nobody could stop them any more, and the port would stay taken."""
    database = database_of(postgres, schema)
    await database.shared_out(["w-0", "w-1"])
    workers = children(served)
    await served.kill()
    await until(lambda: not any(is_alive(pid) for pid in workers))
    assert await database.left() == []


def is_alive(pid):
    """Whether it is there, and not only waited for by somebody."""
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


async def patiently(ask, *arguments, **options):
    while True:
        try:
            return await ask(*arguments, **options)
        except (bide.HubUnreachableError, bide.StoreUnavailableError):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("database", "port", "code", "words"),
    [("nowhere", None, Exit.USAGE, "no such database"), ("postgres", 1, Exit.STORE, "nobody listens")],
)
async def test_what_cannot_start_ends_the_command(postgres, app_file, database, port, code, words):
    """With the code of its error, which is said once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bide", "serve", str(app_file), "--workers", "2", "--port", "0",
        "--store", f"postgresql://bide@127.0.0.1:{port or postgres.port}/{database}",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == code
    assert said.decode().count(words) == 1


def test_a_file_is_for_one_process(app_file, tmp_path, capsys):
    """Several workers are refused, with the way out."""
    assert run(["serve", str(app_file), "--workers", "2", "--store", f"sqlite:///{tmp_path}/b.db"]) != 0
    assert "2 workers need a store that processes share" in capsys.readouterr().err
    assert not (tmp_path / "b.db").exists()
