import pytest

from bide.store.postgres import PostgresStore
from bide.store.postgres.connection import connect
from bide.store.postgres.options import parse_url
from bide.testing.store_suite.cluster import *  # noqa: F403


@pytest.fixture
def url(postgres, schema):
    return postgres.url(schema, partitions=4)


@pytest.fixture
def make_node(url):
    return lambda: PostgresStore(url)


@pytest.fixture
def expire(url):
    async def expire():
        connection = await connect(parse_url(url), "tests")
        await connection.execute("UPDATE partitions SET expires_at = 0; UPDATE nodes SET expires_at = seen_at")
        await connection.close()

    return expire
