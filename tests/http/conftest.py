from datetime import timedelta

import httpx
import pytest

from bide import App
from bide.client.http import connect
from bide.http.routes import create_app
from bide.testing import Harness

app = App()


@app.orchestrator
def gate(context):
    approved = yield context.wait_for_external_event("Approval")
    return (yield context.call_activity("echo", approved))


@app.orchestrator
def failing(context):
    yield context.call_activity("fail")


@app.activity
async def echo(value):
    return value


@app.activity
async def fail():
    raise ValueError("no")


@app.entity
async def counter(context):
    if context.operation_name == "delete":
        context.destruct_on_exit()
    elif context.operation_name != "look":
        context.set_state([*context.get_state(list), context.get_input()])


@app.orchestrator
def locker(context):
    context.signal_entity("@counter@other", "add", 1, scheduled_time=timedelta(hours=1))
    with (yield context.lock_entities(["@counter@a"])):
        yield context.call_entity("@counter@a", "look")
        yield context.wait_for_external_event("End")


@pytest.fixture
async def harness():
    async with Harness(app) as harness:
        yield harness


@pytest.fixture
async def http(harness):
    """A bare HTTP client on the API's base."""
    transport = httpx.ASGITransport(create_app(lambda: harness.client))
    base = "http://localhost/runtime/webhooks/durabletask/"
    async with httpx.AsyncClient(transport=transport, base_url=base) as http:
        yield http


@pytest.fixture
async def remote(harness):
    """Our own client over HTTP."""
    transport = httpx.ASGITransport(create_app(lambda: harness.client))
    async with connect("http://localhost", transport=transport) as client:
        yield client
