"""Who runs what, among the processes of one hub; and what `bide nodes` shows of them."""

import asyncio
import json
from collections import Counter

import pytest
from bench.torture.cluster.node import Node
from tests.cluster.processes.conftest import database_of

import bide
from bide.cli import run

APP = '''
"""Each activity notes who has run it, and from when to when."""

import json
import os
import time

import bide

app = bide.App()


@app.orchestrator
def fan_out(context):
    name, count = context.get_input()
    return (yield context.task_all([context.call_activity(name, number) for number in range(count)]))


@app.activity
def plain(number):
    return note("plain", number)


@app.activity(max_concurrent=3)
def careful(number):
    return note("careful", number)


def note(name, number):
    begin = time.time()
    time.sleep(0.1)
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps([name, os.getpid(), begin, time.time()]) + "\\n")
    return number
'''


@pytest.fixture
async def start(tmp_path, postgres, schema):
    """Start nodes with the app, each with room for four activities."""
    (tmp_path / "app.py").write_text(APP)
    nodes = []

    async def start(name, *options):
        store = ["--store", postgres.url(schema), "--lease-seconds", "2", "--activity-threads", "4"]
        env = {"NOTES": str(tmp_path / "notes")}
        nodes.append(await Node.start(name, tmp_path, [str(tmp_path / "app.py"), *store, *options], env))
        return nodes[-1]

    yield start
    for node in nodes:
        assert await node.stop() == 0
        assert node.complaints() == []
    assert await database_of(postgres, schema).left() == []


async def fan_out(node, name, count):
    async with bide.connect(node.url) as client:
        instance_id = await client.start_new("fan_out", None, [name, count])
        status = await client.wait_for_completion(instance_id, timeout=30)
        assert status.output == list(range(count))


def notes(tmp_path, name):
    return [line[1:] for line in map(json.loads, (tmp_path / "notes").read_text().splitlines()) if line[0] == name]


async def test_activities_run_only_where_they_may(start, tmp_path, postgres, schema):
    """On nodes of the role `activities`, which own nothing; those of the role `orchestrations` own everything."""
    thinker = await start("thinker", "--role", "orchestrations")
    workers = [await start(f"worker{number}", "--role", "activities") for number in range(2)]
    await database_of(postgres, schema).shared_out(["thinker"])
    await fan_out(thinker, "plain", 16)
    await fan_out(workers[0], "plain", 16)
    ran = Counter(pid for pid, _, _ in notes(tmp_path, "plain"))
    assert ran.keys() == {worker.pid for worker in workers}
    assert ran.total() == 32


async def test_a_burst_is_spread(start, tmp_path, postgres, schema):
    """What an owner has no room for, others run; so many of one kind as it says run at a time, wherever they are."""
    one, two = await start("one"), await start("two")
    await database_of(postgres, schema).shared_out(["one", "two"])
    await asyncio.gather(fan_out(one, "plain", 24), fan_out(two, "careful", 12))
    ran = Counter(pid for pid, _, _ in notes(tmp_path, "plain"))
    assert ran.keys() == {one.pid, two.pid}
    assert ran.total() == 24
    spans = notes(tmp_path, "careful")
    assert len(spans) == 12
    assert most_at_a_time(spans) <= 3


def most_at_a_time(spans):
    steps = sorted([(begin, 1) for _, begin, _ in spans] + [(end, -1) for _, _, end in spans])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


async def test_the_nodes_are_shown(start, postgres, schema, capsys):
    """By each of them, and by a command on the store; as text and as JSON."""
    one = await start("one")
    await start("two", "--role", "activities")
    await database_of(postgres, schema).shared_out(["one"])
    for where in (["--url", one.url], ["--store", postgres.url(schema)]):
        assert await asyncio.to_thread(run, ["nodes", "--json", *where]) == 0
        said = json.loads(capsys.readouterr().out)
        nodes = {node["name"]: node for node in said["nodes"]}
        assert (nodes["one"]["role"], nodes["two"]["role"]) == ("all", "activities")
        assert (len(nodes["one"]["partitions"]), len(nodes["two"]["partitions"])) == (32, 0)
        assert said["unowned"] == []
    assert await asyncio.to_thread(run, ["nodes", "--url", one.url]) == 0
    said = capsys.readouterr().out
    assert "32 of 32" in said
    assert "0 of 32" in said
