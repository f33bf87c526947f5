"""Nodes that are killed, stopped and paused while three of them serve stories; nothing that was accepted is lost."""

import signal
import time


async def test_kill_9(cluster):
    """What the dead node owned is taken over when its leases have run out; its successor gets a share. Several rounds."""
    await cluster.start()
    for _ in range(2):
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
    leaving, *_ = await cluster.start()
    await cluster.some_stories(4)
    partitions = await cluster.database.owned(leaving.name)
    at = time.time()
    await cluster.close(leaving)
    assert await cluster.database.owned(leaving.name) == []
    await cluster.database.taken_over(partitions, at)
    await cluster.add()
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
    paused, *others = await cluster.start()
    await cluster.some_stories(4)
    assert await cluster.database.owned(paused.name)
    paused.send(signal.SIGSTOP)
    await cluster.database.shared_out([node.name for node in others])
    await cluster.some_stories(1)
    paused.send(signal.SIGCONT)
    await cluster.shared_out()
    await cluster.some_stories(4)
    assert await cluster.finish() == []
