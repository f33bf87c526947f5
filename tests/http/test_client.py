"""The client over HTTP does what the client in process does, error for error."""

import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

import bide
from bide import OrchestrationRuntimeStatus as Status


async def test_a_whole_life_over_http(remote, harness):
    """Start, wait, raise, complete, history, restart, purge."""
    assert await remote.start_new("gate", "g1", {"a": 1}, tags={"team": "x"}, version="2") == "g1"
    status = await remote.get_status("g1")
    assert (status.input, status.version, status.tags) == ({"a": 1}, "2", {"team": "x"})
    assert [wait.name for wait in (await remote.waits(name="APPROVAL")).items] == ["Approval"]
    receipt = await remote.raise_event("g1", "Approval", [1], event_id="e")
    assert not receipt.is_duplicate
    done = await remote.wait_for_completion("g1", timeout=5)
    assert (done.output, done.runtime_status) == ([1], Status.COMPLETED)
    assert await remote.get_history("g1") == await harness.client.get_history("g1")
    assert (await remote.raise_event("g1", "Approval", [1], event_id="e")).is_duplicate
    other = await remote.restart("g1")
    await remote.suspend(other)
    assert (await remote.get_status(other)).runtime_status is Status.SUSPENDED
    await remote.resume(other)
    await remote.terminate(other, "enough", recursive=True)
    page = await remote.get_status_by(runtime_status=[Status.TERMINATED])
    assert [item.instance_id for item in page.items] == [other]
    assert await remote.purge("g1") == 1
    assert await remote.purge_by() == 1
    assert await remote.purge_by() == 0


async def test_the_same_errors(remote, harness):
    """Each error comes back as the class that the hub raised."""
    await remote.start_new("gate", "g1")
    with pytest.raises(bide.InstanceExistsError):
        await remote.start_new("gate", "g1")
    with pytest.raises(bide.InstanceNotFoundError):
        await remote.raise_event("nobody", "A")
    with pytest.raises(bide.OrchestratorNotFoundError, match="Did you mean 'gate'"):
        await remote.start_new("gato")
    with pytest.raises(bide.InstanceStateError):
        await remote.rewind("g1")
    with pytest.raises(bide.InstanceStateError):
        await remote.purge("g1")
    with pytest.raises(bide.PayloadNotSerializableError):
        await remote.raise_event("g1", "A", object())
    with pytest.raises(bide.PayloadTooLargeError):
        await remote.raise_event("g1", "A", "x" * 1_048_576)
    with pytest.raises(TimeoutError):
        await remote.wait_for_completion("g1", timeout=timedelta(0))
    await remote.terminate("g1")
    with pytest.raises(bide.InstanceEndedError, match="Terminated"):
        await remote.raise_event("g1", "A")
    reasons = [letter.reason for letter in (await remote.dead_letters()).items]
    assert sorted(reasons) == ["instance-ended", "unknown-instance"]


async def test_nodes_over_http(remote, harness):
    """A hub on a store of its own is one node with one partition."""
    status = await remote.nodes()
    [node] = status.nodes
    assert (status.partitions, status.unowned, node.partitions, node.role) == (1, (), (0,), "all")
    assert status == await harness.client.nodes()


async def test_queues_over_http(remote, harness):
    """Send, count and peek, as in process."""
    assert await remote.queues() == {}
    message_id = await remote.send_queue_message("orders/ü", "tex\u00fct")
    await remote.send_queue_message("orders/ü", "", delay=timedelta(minutes=1))
    await harness.client.send_queue_message("a", "x", delay=0.5)
    assert await remote.queues() == await harness.client.queues() == {"a": 1, "orders/ü": 2}
    assert await remote.peek_queue("orders/ü") == await harness.client.peek_queue("orders/ü")
    [first] = await remote.peek_queue("orders/ü", limit=1)
    assert (first.id, first.queue, first.body, first.dequeue_count) == (message_id, "orders/ü", "tex\u00fct", 0)


@pytest.mark.parametrize("which", ["remote", "local"])
async def test_messages_that_cannot_be_sent(remote, harness, which):
    """The same errors here and there."""
    client = remote if which == "remote" else harness.client
    with pytest.raises(bide.InvalidIdError):
        await client.send_queue_message(" ", "x")
    with pytest.raises(bide.PayloadTooLargeError):
        await client.send_queue_message("q", "x" * 1_048_577)
    for body, delay in (("\ud800", None), ("x", -1), ("x", float("nan")), ("x", timedelta(days=99_999))):
        with pytest.raises(bide.InvalidInputError):
            await client.send_queue_message("q", body, delay=delay)
    assert await client.queues() == {}


async def test_entities_over_http(remote, harness):
    """Signal now and later, get, list, remove; the same answers and errors as in process."""
    entity = bide.EntityId("Counter", "a b")
    await remote.signal_entity(entity, "add", {"n": 1})
    await remote.signal_entity(str(entity), "", scheduled_time=-timedelta(days=9999))
    await remote.signal_entity("@counter@a", "add", 1, scheduled_time=timedelta(days=999_999))
    await remote.start_new("locker", "l1")
    await harness.run_until_idle()
    for each in (entity, "@counter@a", "@counter@nobody"):
        assert await remote.get_entity(each) == await harness.client.get_entity(each)
    assert (await remote.get_entity(entity)).state == [{"n": 1}, None]
    assert (await remote.get_entity("@counter@a")).locked_by == "l1"
    assert await remote.get_history("l1") == await harness.client.get_history("l1")
    for options in ({}, {"name": "COUNTER", "fetch_state": True}, {"page_size": 1}, {"name": "x"}):
        assert await remote.list_entities(**options) == await harness.client.list_entities(**options)
    with pytest.raises(bide.EntityNotFoundError, match="Did you mean 'counter'") as caught:
        await remote.signal_entity("@conter@a", "add")
    assert (caught.value.name, caught.value.known) == ("conter", ("counter",))
    with pytest.raises(bide.InvalidIdError):
        await remote.get_entity("counter")
    assert await remote.purge(str(entity), force=True) == 1
    assert await remote.get_entity(entity) is None


async def test_nobody_is_there():
    """The error names the address and the way out."""
    async with bide.connect("http://127.0.0.1:1") as client:
        with pytest.raises(bide.HubUnreachableError, match=r"127\.0\.0\.1:1.*bide serve"):
            await client.get_status("x")


@pytest.mark.parametrize("page", ["", "<html>not here</html>", "[]"])
async def test_another_server_is_there(page):
    """What it does not have is not called an instance."""
    transport = httpx.MockTransport(lambda _: httpx.Response(404, text=page))
    async with bide.connect("http://localhost", transport=transport) as client:
        with pytest.raises(bide.HubUnreachableError, match=r"no bide API at http://localhost/ .*mounted"):
            await client.get_status_by()


async def test_an_answer_that_takes_too_long():
    """Nobody knows what the hub has made of the request."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        async with bide.connect(f"http://127.0.0.1:{port}", timeout=0.05) as client:
            with pytest.raises(bide.HubUnreachableError, match=r"may have taken effect: .* same event id"):
                await client.raise_event("x", "Approval", event_id="e")


def test_an_address_without_scheme():
    with pytest.raises(bide.ConfigurationError, match="write http://localhost:7071"):
        bide.connect("localhost:7071")


def test_the_sync_client_is_derived():
    """http_sync.py is what the generator makes of http.py."""
    script = Path(__file__).parents[2] / "tools/derive_sync_client.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
