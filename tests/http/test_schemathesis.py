"""Generated requests against every operation of the OpenAPI document: none may make the server fail."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings

import bide
from bide import App
from bide.http import openapi
from bide.http.routes import ROUTES

app = App()


@app.orchestrator
def wait(context):
    return (yield context.wait_for_external_event("A"))


class Server:
    """The real API on a port of its own, in a thread."""

    def __init__(self) -> None:
        self.url = ""
        self._ready = threading.Event()
        self._stop: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        async with bide.Hub(app, store="memory:") as hub:
            await hub.client.start_new("wait", "waiting")
            config = uvicorn.Config(hub.asgi(), port=0, log_level="error", lifespan="off")
            server = uvicorn.Server(config)
            server.capture_signals = contextlib.nullcontext  # not the main thread
            self._stop = lambda: setattr(server, "should_exit", True)
            running = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            self._ready.set()
            await running

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_):
        self._stop()
        self._thread.join(20)


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


schema = schemathesis.openapi.from_dict(openapi.document(ROUTES))


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_makes_the_server_fail(case, server):
    if "waitForCompletion" in (case.query or {}):
        case.query.pop("waitForCompletion")  # it waits, as asked
    answer = case.call(base_url=server.url, timeout=20)
    assert answer.status_code < 500, answer.content
