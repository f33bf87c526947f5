"""Locks on entities: who gets them, what they keep out, and how they end, whatever becomes of their owner."""

import asyncio
from datetime import timedelta

import pytest

import bide
from bide import App, EntityContext, EntityId
from bide import OrchestrationRuntimeStatus as Status
from bide.store import MemoryStore
from bide.testing import FaultyStore, Harness

A, B, C = (EntityId("cell", key) for key in "abc")


async def ended(harness: Harness, instance_id: str) -> bide.OrchestrationStatus:
    await harness.run_until_idle()
    status = await harness.client.get_status(instance_id)
    assert status.runtime_status.is_ended, status
    return status


async def holders(harness: Harness) -> dict:
    """Who holds which entity's lock."""
    await harness.run_until_idle()
    page = await harness.client.list_entities()
    return {each.entity_id.key: each.locked_by for each in page.items if each.locked_by or each.backlog}


def cells() -> App:
    """Entities that remember who wrote to them, and orchestrators that lock them and then do as they are told by events."""
    app = App()

    @app.entity
    def cell(context: EntityContext):
        written = context.get_state(list)
        if context.operation_name == "write":
            context.set_state([*written, context.get_input()])
        elif context.operation_name == "fail":
            raise ValueError("no")
        return written

    @app.orchestrator
    def transfer(context):
        """Write to both in two steps each, in the order given, under a lock asked for in the order given."""
        first, second = context.get_input()
        with (yield context.lock_entities([first, second])):
            for step in (1, 2):
                yield context.call_entity(first, "write", [context.instance_id, step])
                yield context.wait_for_external_event("Next", timeout=timedelta(hours=1), default=None)
                yield context.call_entity(second, "write", [context.instance_id, step])

    @app.orchestrator
    def holder(context):
        """Hold the locks until an event says how to end."""
        yield context.lock_entities([A, B])
        how = yield context.wait_for_external_event("End")
        if how == "fail":
            raise RuntimeError("as told")
        if how == "again":
            context.continue_as_new()

    return app


async def test_crossing_locks_neither_deadlock_nor_interleave(open_harness):
    """One asks for [a, b], the other for [b, a], a third for both ends; each has both cells to itself."""
    async with open_harness(cells()) as harness:
        pairs = {"x": ["@cell@a", "@cell@b"], "y": ["@cell@b", "@cell@a"], "z": ["@CELL@b", "@cell@a"]}
        for name, pair in pairs.items():
            await harness.client.start_new("transfer", name, pair)
        await harness.advance(timedelta(hours=10))
        for name in pairs:
            assert (await ended(harness, name)).runtime_status is Status.COMPLETED
        for cell in (A, B):
            written = (await harness.client.get_entity(cell)).state
            assert written == [[name, step] for name in dict(written) for step in (1, 2)], "no interleaving"
            assert len(written) == 6
        assert await holders(harness) == {}


async def test_others_wait_while_the_owner_passes(open_harness):
    """In the order in which they came; what had come before the lock is done before it."""

    @(app := cells()).orchestrator
    def owner(context):
        context.signal_entity(A, "write", "before")
        lock = yield context.lock_entities([A])
        yield context.wait_for_external_event("Go")
        seen = yield context.call_entity(A, "write", "mine")
        lock.release()
        lock.release()
        return seen

    async with open_harness(app) as harness:
        await harness.client.start_new("owner", "o")
        await harness.run_until_idle()
        for number in (1, 2):
            await harness.client.signal_entity(A, "write", number)
        await harness.run_until_idle()
        status = await harness.client.get_entity(A)
        assert (status.state, status.locked_by, status.backlog) == (["before"], "o", 2)
        await harness.client.raise_event("o", "Go")
        assert (await ended(harness, "o")).output == ["before"]
        assert (await harness.client.get_entity(A)).state == ["before", "mine", 1, 2]


@pytest.mark.parametrize(
    ("end", "is_first"),
    [(end, True) for end in ("return", "fail", "again", "terminate", "purge", "replace")]
    + [(end, False) for end in ("terminate", "purge", "replace")],  # one that waits does not end by itself
)
async def test_locks_end_with_their_owner(open_harness, end, is_first):
    """However it ends, and also when the lock was only asked for: then nobody is kept out, and nothing is left."""
    async with open_harness(cells()) as harness:
        client = harness.client
        first, second = ("it", "other") if is_first else ("other", "it")
        for name in (first, second):
            await client.start_new("holder", name)
            await harness.run_until_idle()
        assert await holders(harness) == {"a": first, "b": first}
        match end:
            case "terminate":
                await client.terminate("it")
            case "purge":
                await client.purge("it", force=True)
            case "replace":
                await client.start_new("transfer", "it", ["@cell@c"] * 2, id_reuse=bide.IdReusePolicy.REPLACE_ANY)
            case _:
                await client.raise_event("it", "End", end)
        held = await holders(harness)
        assert (held["a"], held["b"]) == ("other", "other")
        if end != "again":
            await client.raise_event("other", "End")
            await ended(harness, "other")
            assert set(await holders(harness)) <= {"c"}


async def test_nothing_is_left_of_a_lock_on_entities_without_state(open_harness):
    async with open_harness(cells()) as harness:
        await harness.client.start_new("holder", "h")
        await harness.run_until_idle()
        assert len((await harness.client.list_entities()).items) == 2
        await harness.client.raise_event("h", "End")
        await ended(harness, "h")
        assert (await harness.client.list_entities()).items == ()


async def test_a_lock_survives_a_restart_at_any_point():
    """The hub is closed a few rounds of the loop after it was opened, some more each time, until all is done.

    No thread takes part, so that the points are the same each time; what was begun is finished, and does not interleave.
    """
    store, app, names = MemoryStore(), App(), {"x": [A, B], "y": [B, A]}

    @app.entity(name="cell")
    async def cell(context):
        context.set_state([*context.get_state(list), context.get_input()])

    @app.orchestrator
    def section(context):
        first, second = names[context.instance_id]
        with (yield context.lock_entities([first, second])):
            for step in (1, 2):
                yield context.call_entity(first, "write", [context.instance_id, step])
                yield context.call_entity(second, "write", [context.instance_id, step])

    async with Harness(app, store) as harness:
        for name in names:
            await harness.client.start_new("section", name)
    lives = 0
    while {status.runtime_status for status in await statuses(store, names)} != {Status.COMPLETED}:
        lives += 1
        assert lives < 100, "it makes no progress"
        async with Harness(app, store) as harness:
            for _ in range(lives // 2):
                await asyncio.sleep(0)
    assert lives > 3, "it was closed in the middle"
    async with Harness(app, store) as harness:
        for each in (A, B):
            written = (await harness.client.get_entity(each)).state
            assert sorted(dict(written)) == ["x", "y"]
            assert written == [[name, step] for name in dict(written) for step in (1, 2)]
        assert await holders(harness) == {}


async def statuses(store: MemoryStore, names) -> list[bide.OrchestrationStatus]:
    """Look without any code, so that nothing goes on."""
    async with Harness(App(), store) as harness:
        return [await harness.client.get_status(name) for name in names]


async def test_a_lock_that_was_given_up(open_harness, hour):
    """Cancelled while it was waited for: the request is withdrawn, and another lock may be asked for."""

    @(app := cells()).orchestrator
    def impatient(context):
        lock, timer = context.lock_entities([A, B]), context.create_timer(hour)
        winner = yield context.task_any([lock, timer])
        lock.cancel()
        with (yield context.lock_entities([C])):
            return [winner is timer, lock.is_canceled, (yield context.call_entity(C, "read"))]

    async with open_harness(app) as harness:
        await harness.client.start_new("holder", "h")
        await harness.client.start_new("impatient", "i")
        await harness.advance(hour)
        assert (await ended(harness, "i")).output == [True, True, []]
        assert await holders(harness) == {"a": "h", "b": "h"}
        await harness.client.raise_event("h", "End")
        assert await holders(harness) == {}


async def test_a_lock_on_what_nobody_registered(open_harness):
    """It fails, and what was locked before it is free again."""

    @(app := cells()).orchestrator
    def lost(context):
        try:
            yield context.lock_entities([A, "@nobody@x"])
        except bide.TaskFailedError as error:
            with (yield context.lock_entities([A])) as lock:
                return [error.error_type, list(lock.entities)]

    async with open_harness(app) as harness:
        await harness.client.start_new("lost", "l")
        assert (await ended(harness, "l")).output == ["EntityNotFoundError", ["@cell@a"]]
        assert await holders(harness) == {}


async def test_a_failed_call_inside_the_section(open_harness):
    """It is raised at the yield; the lock ends with the block."""

    @(app := cells()).orchestrator
    async def careful(context):
        try:
            with await context.lock_entities([A]):
                await context.call_entity(A, "fail")
        except bide.TaskFailedError:
            context.signal_entity(A, "write", "after")
        return await context.call_entity(A, "read")

    async with open_harness(app) as harness:
        await harness.client.start_new("careful", "c")
        assert (await ended(harness, "c")).output == ["after"]


RULES = {
    "nested": (lambda context: context.lock_entities([B]), "all entities in one call"),
    "child": (lambda context: context.call_sub_orchestrator("holder"), "inside a critical section"),
    "other": (lambda context: context.call_entity(B, "read"), "@cell@b is not locked"),
    "twice": (lambda context: [context.call_entity(A, "read") for _ in "12"], "being called already"),
    "signal": (lambda context: context.signal_entity(A, "write", 1), "@cell@a is locked"),
    "nothing": (lambda context: context.lock_entities([]), "at least one entity"),
}


@pytest.mark.parametrize("rule", RULES)
async def test_rules_of_a_critical_section(open_harness, rule):
    """What is against them raises where it is asked for, and can be caught; the section goes on."""
    act, words = RULES[rule]

    @(app := cells()).orchestrator
    def breaker(context):
        with (yield context.lock_entities([A])):
            context.signal_entity(B, "write", "fine")
            try:
                act(context)
            except (bide.OrchestratorContractError, bide.InvalidInputError) as error:
                text = str(error)
            yield context.create_timer(timedelta(0))
        yield context.task_all([context.call_entity(B, "read"), context.call_entity(B, "read")])
        return text

    async with open_harness(app) as harness:
        await harness.client.start_new("breaker", "b")
        await harness.advance(1)
        status = await ended(harness, "b")
        assert status.runtime_status is Status.COMPLETED, status.output
        assert words in status.output
        assert await holders(harness) == {}


async def test_rewind_after_a_failure_with_entities(open_harness):
    """A call that failed is made again; inside a critical section it cannot be: its locks are gone."""
    app, is_down = App(), [True]

    @app.entity
    def flaky(context):
        if is_down:
            raise OSError("down")
        return "up"

    @app.orchestrator
    def outside(context):
        with (yield context.lock_entities(["@flaky@y"])):
            pass
        return (yield context.call_entity("@flaky@x", "go"))

    @app.orchestrator
    def inside(context):
        with (yield context.lock_entities(["@flaky@x"])):
            return (yield context.call_entity("@flaky@x", "go"))

    @app.orchestrator
    def kept(context):
        yield context.lock_entities(["@flaky@x"])
        return (yield context.call_entity("@flaky@x", "go"))

    async with open_harness(app) as harness:
        names = ("outside", "inside", "kept")
        for name in names:
            await harness.client.start_new(name, name)
            assert (await ended(harness, name)).runtime_status is Status.FAILED
        is_down.clear()
        await harness.client.rewind("outside")
        assert (await ended(harness, "outside")).output == "up"
        for name in ("inside", "kept"):
            with pytest.raises(bide.InstanceStateError, match="inside a critical section"):
                await harness.client.rewind(name)
            assert (await ended(harness, name)).runtime_status is Status.FAILED


async def test_rewind_makes_open_calls_again(open_harness):
    """The answer to a call came after the run had failed of another one, and was dropped."""
    app, is_down, is_slow = App(), [True], asyncio.Event()

    @app.entity
    async def flaky(context):
        if context.entity_key == "slow":
            await is_slow.wait()
        elif is_down:
            raise OSError("down")
        return "up"

    @app.orchestrator
    def both(context):
        return (yield context.task_all([context.call_entity(f"@flaky@{key}", "go") for key in ("slow", "x")]))

    async with open_harness(app) as harness:
        await harness.client.start_new("both", "b")
        assert (await harness.client.wait_for_completion("b")).runtime_status is Status.FAILED
        is_slow.set()
        await harness.run_until_idle()
        is_down.clear()
        await harness.client.rewind("b")
        assert (await ended(harness, "b")).output == ["up", "up"]


@pytest.mark.parametrize("rounds", range(12))
async def test_a_grant_that_nobody_wants_any_more_is_given_back(rounds):
    """The owner is purged some rounds after its start: its request is still under way, or waits, or is granted."""
    async with Harness(cells(), FaultyStore(MemoryStore(), latency=3)) as harness:
        starting = asyncio.ensure_future(harness.client.start_new("holder", "h"))
        for _ in range(rounds):
            await asyncio.sleep(0)
        purging = harness.client.purge("h", force=True)
        await asyncio.gather(starting, purging)
        assert await holders(harness) == {}
        assert (await harness.client.list_entities()).items == ()
