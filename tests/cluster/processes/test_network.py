"""A node that is cut off from the database while it works; nothing that was accepted is lost or done twice."""

import pytest
from bench.torture.cluster.proxy import Proxy


@pytest.fixture
async def proxy(postgres):
    async with Proxy([postgres.port]) as proxy:
        yield proxy


@pytest.fixture
async def far(cluster, postgres, schema, proxy):
    """A node whose way to the database leads through the proxy; besides two others."""
    await cluster.start(2)
    node = await cluster.add(url=postgres.url(schema).replace(f":{postgres.port}", f":{proxy.port}"))
    await cluster.shared_out()
    await cluster.some_stories(3)
    return node


async def test_cut_off_for_longer_than_the_lease(cluster, proxy, far):
    """First nothing gets through, and what arrives when it is over is refused; then connections are reset, also new ones."""
    for cut in (proxy.hold, proxy.cut):
        cut()
        await cluster.database.shared_out([node.name for node in cluster.nodes if node is not far])
        await cluster.some_stories(1)
        proxy.heal()
        await cluster.shared_out()
    assert await cluster.finish() == []


async def test_the_outcome_of_commits_is_unknown(cluster, proxy, far):
    """Connections are lost before a commit has reached the server, or before its answer has reached the node, again and again."""
    for _ in range(3):
        await proxy.lose_answer()
        await cluster.some_stories(1)
        await proxy.lose_request()
        await cluster.some_stories(1)
    assert far in cluster.nodes
    assert await cluster.finish() == []
