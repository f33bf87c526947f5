"""Nodes that are killed, stopped and paused while three of them serve stories; nothing that was accepted is lost."""

import signal


async def test_kill_9(cluster):
    """What the dead node owned is taken over when its leases have run out; its successor gets a share. Several rounds."""
    await cluster.start()
    for _ in range(3):
        victim = cluster.nodes[0]
        await cluster.some_stories(4)
        partitions = await cluster.database.owned(victim.name)
        assert partitions
        at = await cluster.kill(victim)
        await cluster.database.taken_over(partitions, at)
        await cluster.add()
    await cluster.shared_out()
    assert await cluster.finish() == []


async def test_sigterm(cluster):
    """Partitions are given back at once; all requests of the node's clients are answered, or may be sent to another node."""
    await cluster.start()
    for _ in range(2):
        await cluster.some_stories(4)
        leaving = cluster.nodes[0]
        joining = await cluster.add()
        partitions = await cluster.database.owned(leaving.name)
        await cluster.close(leaving)
        assert await cluster.database.owned(leaving.name) == []
        assert leaving.name not in await names(cluster)
        assert partitions or joining in cluster.nodes
    await cluster.shared_out()
    assert await cluster.finish() == []


async def test_all_at_once(cluster):
    """All nodes are killed; those that come find everything where it was."""
    await cluster.start()
    await cluster.some_stories(4)
    for node in list(cluster.nodes):
        await cluster.kill(node)
    await cluster.start()
    assert await cluster.finish() == []


async def test_paused_for_longer_than_its_lease(cluster):
    """SIGSTOP, until others have its partitions; after SIGCONT it writes nothing there, goes on, and gets a share again."""
    await cluster.start()
    for _ in range(2):
        await cluster.some_stories(4)
        paused = cluster.nodes[0]
        partitions = await cluster.database.owned(paused.name)
        paused.send(signal.SIGSTOP)
        others = [node.name for node in cluster.nodes if node is not paused]
        await cluster.database.shared_out(others)
        await cluster.some_stories(1)
        paused.send(signal.SIGCONT)
        await cluster.shared_out()
        assert partitions
    assert await cluster.finish() == []


async def names(cluster):
    return [name for (name,) in await cluster.database.fetch("SELECT name FROM nodes")]
