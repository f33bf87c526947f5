"""Without LISTEN a node polls: it hears what it has to hear all the same."""

import pytest

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
