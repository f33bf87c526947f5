"""What nodes on PostgreSQL must not do to each other, nor show."""

import asyncio

import asyncpg

import bide
from bide.model.commit import Batch, Posted
from bide.model.nodes import NodeLoad, NodeRole
from bide.store.postgres import PostgresStore

TTL = 6_000_000


class Nobody:
    """A listener who does not care."""

    def __getattr__(self, name):
        return lambda *_: None


def test_the_password_is_not_shown():
    """What a hub says of its store, as 'bide serve' does, is for all to read."""
    hub = bide.Hub(bide.App(), "postgresql://me:secret@db.example/hub?sslmode=require&password=secret")
    assert hub.location == "postgresql://me:***@db.example/hub?sslmode=require&password=***"


async def joined(url):
    store = PostgresStore(url)
    await store.open()
    await store.join("n", NodeRole.ALL, TTL, Nobody())
    return store


async def test_a_claim_does_not_wait_for_whoever_hangs(postgres, schema):
    """What he has locked is left for the next time, when the server has given him up; the rest is taken."""
    store = await joined(postgres.url(schema, partitions=2))
    hanging = await asyncpg.connect(postgres.url(schema).partition("?")[0])
    try:
        async with hanging.transaction():
            await hanging.execute(f"SELECT * FROM {schema}.partitions WHERE partition = 0 FOR UPDATE")
            assert await store.claim([0, 1], TTL) == {1}
            await store.beat(TTL, NodeLoad())
        assert await store.claim([0, 1], TTL) == {0}
    finally:
        await hanging.close()
        await store.close()


async def test_a_claim_that_was_broken_off_holds_nothing(postgres, schema):
    """As when a node closes while it claims: whatever the server made of it, nothing is left when the node has gone."""
    store, other = await joined(postgres.url(schema, partitions=2)), await joined(postgres.url(schema))
    try:
        await store.claim([0, 1], TTL)
        store._leases.end([1])  # the answer has not come
        await store.leave()
        assert await other.claim([0, 1], TTL) == {0, 1}
    finally:
        await store.close()
        await other.close()


async def test_messages_are_read_in_the_order_in_which_they_came(postgres, schema):
    """Whichever node has numbered them."""
    store = await joined(postgres.url(schema, partitions=1))
    try:
        await store.claim([0], TTL)
        for key in (2 << 40, 1 << 40, 3 << 40):
            await store.commit(Batch(inbox_added=[Posted(0, key, b"m")]))
        assert [key >> 40 for key, _ in await store.inbox()] == [2, 1, 3]
        assert [key >> 40 for key, _ in await store.inbox(2)] == [2, 1]
    finally:
        await store.close()


async def test_an_answer_may_be_longer_than_a_notice(postgres, schema):
    """An error with all that belongs to it, in words of several bytes: it comes in parts."""
    app = bide.App()
    for number in range(500):
        app.orchestrator(name=f"größer-als-eine-Nachricht-{number}")(lambda _: None)
    url = postgres.url(schema, partitions=2)
    async with bide.Hub(app, url) as one, bide.Hub(app, url) as two:
        raised = [
            await asyncio.gather(hub.client.start_new("größer", f"i{number}"), return_exceptions=True)
            for hub in (one, two)
            for number in range(4)
        ]
        assert {len(error.known) for (error,) in raised} == {500}
