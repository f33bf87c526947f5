import pytest
from bench.torture.cluster.database import Database
from bench.torture.cluster.driver import Cluster


def database_of(server, schema):
    return Database(server.url(schema).partition("?")[0], schema)


@pytest.fixture
async def cluster(tmp_path, postgres, schema):
    """No node yet; stories that wait for the first."""
    async with Cluster(tmp_path, postgres.url(schema), database_of(postgres, schema), lanes=6) as cluster:
        yield cluster
