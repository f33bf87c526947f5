"""Ordinary uses, as type checkers see them: not run, only checked."""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

import bide

app = bide.App()


@dataclass
class Decision:
    approved: bool


@app.activity
def charge(amount: float) -> str:
    return f"charged {amount}"


@app.activity(name="notify")
async def tell(text: str) -> None: ...


@app.activity(process=True)
def render(pages: int) -> bytes:
    return bytes(pages)


@app.orchestrator
async def approval(context: bide.OrchestrationContext) -> str:
    assert_type(context.get_input(), Any)
    assert_type(context.get_input(Decision), Decision)
    assert_type(await context.wait_for_external_event("A"), Any)
    assert_type(await context.wait_for_external_event("A", int), int)
    assert_type(await context.wait_for_external_event("A", int, timeout=5, default="late"), int | str)
    assert_type(await context.wait_for_external_event("A", int | None), Any)
    wait = context.wait_for_external_event("Approval", Decision, timeout=timedelta(days=3))
    timer = context.create_timer(timedelta(hours=1))
    assert_type(await timer, None)
    winner = await context.task_any([wait, timer])
    if winner is wait:
        assert_type(wait.result, Decision)
    numbers = await context.task_all([context.wait_for_external_event(name, int) for name in ("A", "B")])
    assert_type(numbers, list[int])
    assert_type(await context.call_activity(charge, 3.5, type=str), str)
    assert_type(render(3), bytes)
    await context.call_activity("notify", "done", retry=bide.RetryOptions(timedelta(seconds=1), 3))
    return "done"


@app.orchestrator
def gates(context: bide.OrchestrationContext) -> Generator[bide.Task[Any], Any, list[bool]]:
    approved: bool = yield context.wait_for_external_event("Approval", bool)
    child = yield context.call_sub_orchestrator(approval, "in", instance_id="child")
    context.set_custom_status({"child": child})
    return [approved]


@app.entity
def counter(context: bide.EntityContext) -> int:
    value = context.get_state(lambda: 0)
    assert_type(value, int)
    assert_type(context.get_state(type=Decision), Decision | None)
    assert_type(context.get_input(int), int)
    context.set_state(value + context.get_input(int))
    assert_type(context.start_new(approval, 1), str)
    return value


@app.entity(name="account")
@dataclass
class Account:
    balance: int = 0

    def deposit(self, amount: int, context: bide.EntityContext) -> int:
        context.signal_entity(bide.EntityId("counter", "all"), "add", amount, scheduled_time=timedelta(hours=1))
        self.balance += amount
        return self.balance


@app.orchestrator
async def transfer(context: bide.OrchestrationContext) -> int:
    assert_type(await context.call_entity("@account@a", "deposit", 1), Any)
    assert_type(await context.call_entity("@account@a", "deposit", 1, type=int), int)
    with await context.lock_entities([bide.EntityId("account", "a"), "@account@b"]) as lock:
        assert_type(lock, bide.EntityLock)
    return Account().balance


async def client_side(client: bide.Client) -> None:
    assert_type(await client.start_new(approval, client_input=Decision(approved=True)), str)
    assert_type(await client.raise_event("id", "A", 1, event_id="e"), bide.RaisedEvent)
    status = await client.wait_for_completion("id", timeout=timedelta(seconds=3))
    assert_type(status, bide.OrchestrationStatus)
    await client.signal_entity("@account@a", "deposit", 5)
    assert_type(await client.get_entity("@account@a"), bide.EntityStatus | None)
    assert_type(await client.list_entities("account", fetch_state=True), bide.ResultPage[bide.EntityStatus])
    page = await client.waits(name="Approval")
    for wait in page.items:
        assert_type(wait, bide.OpenWait)
    assert_type(await client.send_queue_message("orders", "17", delay=timedelta(minutes=1)), str)
    assert_type(await client.peek_queue("orders", limit=1), tuple[bide.QueuedMessage, ...])


async def embedded() -> None:
    async with bide.Hub(app, store="memory:", retention=timedelta(days=30), activity_processes=2) as hub:
        await client_side(hub.client)
    async with bide.connect("http://127.0.0.1:7071", key="k") as client:
        await client_side(client)


def without_a_loop() -> None:
    with bide.connect_sync("http://127.0.0.1:7071") as client:
        assert_type(client.start_new("approval"), str)
        assert_type(client.get_status("id"), bide.OrchestrationStatus)
