"""Orchestrations as they were under way when schema 1 was the newest; `schema_1.sql` holds the store that bide left then.

Commit 1ee0c6d, the last one with entities and without message queues, wrote it: with its `src` as PYTHONPATH and BIDE_OLD=1,
`python -m tests.store.old.flows FILE > schema_1.sql`. It never closes the store.
"""

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import bide

app = bide.App()


@app.orchestrator
def collect(context):
    """Events by name, some of them after an activity, over several generations."""
    seen = context.get_input() or []
    context.set_custom_status(seen)
    for _ in range(2):
        value = yield context.wait_for_external_event("n")
        if value == "stop":
            return seen
        seen.append((yield context.call_activity(echo, value)))
    context.continue_as_new(seen)
    return None


@app.activity
async def echo(value):
    return value


@app.orchestrator
def charge(context):
    """An activity that had not come to its end."""
    return (yield context.call_activity(slow, context.get_input()))


@app.activity
async def slow(value):
    if os.environ.get("BIDE_OLD") is not None:
        await asyncio.Event().wait()
    return f"{value}, after all"


@app.orchestrator
def escalate(context):
    decision = context.wait_for_external_event("Decision")
    deadline = context.create_timer(timedelta(days=3))
    winner = yield context.task_any([decision, deadline])
    return "escalated" if winner is deadline else decision.result


@app.orchestrator
def parent(context):
    child = context.call_sub_orchestrator(escalate, None, f"{context.instance_id}-child")
    return ["the child says", (yield child)]


@app.orchestrator
def holder(context):
    """Holds a lock while it waits."""
    with (yield context.lock_entities(["@counter@locked"])):
        before = yield context.call_entity("@counter@locked", "add", 1)
        yield context.wait_for_external_event("Go")
        after = yield context.call_entity("@counter@locked", "add", 1)
    return [before, after]


@app.entity
def counter(context):
    value = context.get_state(lambda: 0) + (context.get_input() or 0)
    context.set_state(value)
    return value


async def leave(path: Path) -> None:
    """Get everything under way, and be gone."""
    hub = await bide.Hub(app, f"sqlite:///{path}").start()
    client = hub.client
    for name in ("waits", "suspended"):
        await client.start_new("collect", name)
        for number in range(3):
            await client.raise_event(name, "n", number, event_id=f"id-{number}")
        await client.raise_event(name, "Early", "kept")
    await until(client, "waits", lambda status: status.custom_status == [0, 1] and status.waits)
    await client.suspend("suspended")
    await client.raise_event("suspended", "n", 3, event_id="id-3")
    await client.start_new("charge", "charged", "paid")
    await client.start_new("escalate", "overdue")
    await client.start_new("parent", "family")
    await client.start_new("escalate", "later", start_at=timedelta(days=30))
    await client.start_new("holder", "holder")
    await until(client, "holder", lambda status: status.waits)
    await client.signal_entity("@counter@locked", "add", 100)
    await client.signal_entity("@counter@free", "add", 7)
    await client.signal_entity("@counter@free", "add", 5, scheduled_time=timedelta(days=2))
    await client.start_new("collect", "ended", [8])
    await client.raise_event("ended", "Unread", 1)
    await client.raise_event("ended", "n", "stop")
    await until(client, "family-child", lambda status: status.waits)
    while (free := await client.get_entity("@counter@free")) is None or free.state != 7:
        await asyncio.sleep(0.01)
    with closing(sqlite3.connect(path)) as database:
        sys.stdout.write("\n".join(database.iterdump()))
        version, application = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
        )
        sys.stdout.write(f"\nPRAGMA user_version = {version};\nPRAGMA application_id = {application};\n")
    sys.stdout.flush()
    os._exit(0)


async def until(client: bide.Client, instance_id: str, is_so) -> None:
    while True:
        try:
            if is_so(await client.get_status(instance_id)):
                return
        except bide.InstanceNotFoundError:
            pass
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(leave(Path(sys.argv[1])))
