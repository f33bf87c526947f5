"""Without LISTEN a node polls: it hears what it has to hear all the same."""

import asyncpg
import pytest

from bide.model.commit import Batch, Reply
from bide.model.nodes import NodeLoad, NodeRole
from bide.store.postgres import PostgresStore
from bide.testing.store_suite.cluster import (
    join,
    test_a_message_to_another_partition_is_heard_by_its_owner,
    test_an_offered_activity_is_claimed_once,
    test_nodes_know_each_other,
    test_replies_arrive_at_the_node_they_are_for,
    test_watchers_of_a_queue_hear_what_other_nodes_add,
)

__all__ = [
    "join",
    "test_a_message_to_another_partition_is_heard_by_its_owner",
    "test_an_offered_activity_is_claimed_once",
    "test_nodes_know_each_other",
    "test_replies_arrive_at_the_node_they_are_for",
    "test_watchers_of_a_queue_hear_what_other_nodes_add",
]


@pytest.fixture
def make_node(postgres, schema):
    return lambda: PostgresStore(postgres.url(schema, partitions=4, listen="off", poll=0.02))


class Nobody:
    """A listener who does not care."""

    def __getattr__(self, name):
        return lambda *_: None


@pytest.mark.parametrize("way", ["leaves", "is forgotten"])
async def test_replies_that_nobody_reads_do_not_stay(postgres, schema, make_node, way):
    """Those to a node that has gone are removed with the next one that goes."""
    one, two = make_node(), make_node()
    await one.open()
    await two.open()
    try:
        number = await one.join("one", NodeRole.ALL, 1, Nobody())
        await two.join("two", NodeRole.ALL, 10_000_000, Nobody())
        one._notices._handlers.clear()
        await one._notices.close()
        await two.commit(Batch(replies=[Reply(number, 1, "yes")]))
        if way == "leaves":
            await one.leave()
            await two.commit(Batch(replies=[Reply(number, 1, "yes")]))
            await two.leave()
        else:
            await two.beat(1, NodeLoad())
        connection = await asyncpg.connect(postgres.url(schema).partition("?")[0])
        assert await connection.fetchval(f"SELECT count(*) FROM {schema}.replies") == 0
        await connection.close()
    finally:
        await one.close()
        await two.close()
