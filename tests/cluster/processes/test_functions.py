"""A Functions app that two nodes serve: its timers, its queues, and events at either node."""

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path

import httpx
import pytest
from bench.torture.cluster.node import Node
from tests.cluster.processes.conftest import database_of

import bide

EXAMPLE = Path(__file__).parents[3] / "examples" / "azure" / "decorators"
MORE = """

import json
import os


def note(what, value):
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps([what, os.getpid(), value]) + "\\n")


@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
def every_second(timer: func.TimerRequest) -> None:
    note("ring", timer.schedule_status["Next"])


@app.queue_trigger(arg_name="message", queue_name="others", connection="AzureWebJobsStorage")
def handle(message: func.QueueMessage) -> None:
    note("message", message.get_body().decode())
"""


@pytest.fixture
async def nodes(tmp_path, postgres, schema):
    folder = tmp_path / "app"
    shutil.copytree(EXAMPLE, folder)
    with (folder / "function_app.py").open("a") as file:
        file.write(MORE)
    options = [str(folder), "--store", postgres.url(schema), "--lease-seconds", "1"]
    nodes = [await Node.start(name, tmp_path, options, {"NOTES": str(tmp_path / "notes")}) for name in ("one", "two")]
    yield nodes
    for node in nodes:
        assert await node.stop() == 0
        assert node.complaints() == []


async def noted(path, what, count):
    """Wait until so much of this kind is noted; who has noted, and what."""
    async with asyncio.timeout(20):
        while True:
            lines = map(json.loads, path.read_text().splitlines()) if path.exists() else []
            found = [(pid, value) for kind, pid, value in lines if kind == what]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


async def test_two_nodes_serve_an_app(nodes, tmp_path, postgres, schema):
    """A timer rings once each time; a message is handled once, by any node; either takes events for every instance."""
    await database_of(postgres, schema).shared_out(["one", "two"])
    notes = tmp_path / "notes"
    async with bide.connect(nodes[0].url) as one, bide.connect(nodes[1].url) as two, httpx.AsyncClient() as http:
        for number in range(8):
            url = f"{nodes[number % 2].url}/api/orchestrators/approval/{'ab'[number % 2]}{number}"
            assert (await http.post(url, json={"amount": number})).is_success
        for number in range(40):
            await (one, two)[number % 2].send_queue_message("others", str(number))
        for number in range(4):  # by the message, and by the management API of the other node
            await one.send_queue_message("approval-queue", f"{'ab'[number % 2]}{number}")
            await two.raise_event(f"{'ab'[number % 2]}{number + 4}", "Approval", True)
        for number in range(8):
            ended = await (two, one)[number % 2].wait_for_completion(f"{'ab'[number % 2]}{number}", timeout=20)
            assert ended.output == "approved"
    handled = await noted(notes, "message", 40)
    assert Counter(value for _, value in handled) == Counter(map(str, range(40)))
    rings = [value for _, value in await noted(notes, "ring", 3)]
    assert rings == sorted(set(rings))
