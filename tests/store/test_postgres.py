import pytest

from bide.store.postgres import PostgresStore
from bide.testing.store_suite import *  # noqa: F403


@pytest.fixture
def make_store(postgres, schema):
    return lambda: PostgresStore(postgres.url(schema, partitions=1))
