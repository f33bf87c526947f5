import pytest

from bide.testing.cluster import MemoryCluster
from bide.testing.harness import VirtualClock
from bide.testing.store_suite.cluster import *  # noqa: F403


@pytest.fixture
def cluster():
    return MemoryCluster(VirtualClock(), partitions=4)


@pytest.fixture
def make_node(cluster):
    return cluster.node


@pytest.fixture
def expire(cluster):
    async def expire():
        cluster.expire()

    return expire
