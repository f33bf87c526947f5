"""The promises of entities on a store that takes a while and sometimes fails, through crashes and restarts.

Whatever was accepted is done exactly once, in order of its sender; sections under a lock do not interleave; no lock is left.
"""

import asyncio
from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import bide
from bide import OrchestrationRuntimeStatus as Status
from bide.store import MemoryStore
from bide.testing import FaultyStore, Harness

app = bide.App()
CELLS = ["@cell@x", "@cell@y", "@cell@z"]


@app.entity
async def cell(context: bide.EntityContext):
    """Remember what was written; pass on what is to be passed on; fail when told to, after having done both."""
    await asyncio.sleep(0)
    value = context.get_input()
    context.set_state([*context.get_state(list), value])
    if context.operation_name == "pass":
        context.signal_entity("@cell@z", "write", [*value, "passed"])
    if context.operation_name == "fail":
        context.signal_entity("@cell@z", "write", value)
        raise ValueError("no")


@app.orchestrator
def sender(context):
    """Signal, call, signal, and a call that fails: in this order."""
    target, name = context.get_input(), context.instance_id
    context.signal_entity(target, "write", [name, 1])
    call = context.call_entity(target, "pass", [name, 2])
    context.signal_entity(target, "write", [name, 3])
    try:
        yield context.call_entity(target, "fail", [name, "never"])
    except bide.TaskFailedError:
        yield call
        return "done"


@app.orchestrator
def section(context):
    """Write twice to each of two cells, under their locks."""
    first, second = context.get_input()
    with (yield context.lock_entities([first, second])):
        for step in (1, 2):
            yield context.call_entity(first, "write", [context.instance_id, step])
            yield context.call_entity(second, "write", [context.instance_id, step])
    return "done"


SIGNALS = st.tuples(st.sampled_from(["write", "pass", "fail"]), st.sampled_from(CELLS[:2]))
SENDERS = st.tuples(st.just("sender"), st.sampled_from(CELLS))
SECTIONS = st.tuples(st.just("section"), st.permutations(CELLS).map(lambda cells: cells[:2]))


class EntityPromises(RuleBasedStateMachine):
    """Random schedules on the real engine."""

    @initialize(latency=st.integers(0, 5), max_resident=st.sampled_from([0, 1, 100]))
    def begin(self, latency, max_resident):
        self.runner = asyncio.Runner()
        self.store = FaultyStore(MemoryStore(), latency)
        self.max_resident = max_resident
        self.numbers = 0
        self.expected = {each: Counter() for each in CELLS}
        self.started: dict[str, tuple] = {}
        self.broken_off: set[str] = set()
        self.runner.run(self.open())

    async def open(self):
        self.harness = Harness(app, self.store, max_resident=self.max_resident)
        await self.harness.__aenter__()

    @rule(ops=st.lists(st.tuples(st.one_of(SIGNALS, SENDERS, SECTIONS), st.integers(0, 4)), min_size=1, max_size=8))
    def burst(self, ops):
        """Several at once, some rounds apart; what the store refused is repeated."""
        self.runner.run(self.do([(op, self.name()) for op, _ in ops], [pause for _, pause in ops]))

    @rule(
        sections=st.lists(SECTIONS, min_size=1, max_size=3),
        rounds=st.integers(0, 30),
        verb=st.sampled_from(["terminate", "purge"]),
    )
    def break_off(self, sections, rounds, verb):
        """Sections are ended from outside, wherever they are."""
        self.runner.run(self.start_and_break_off([(op, self.name()) for op in sections], rounds, verb))

    def name(self):
        self.numbers += 1
        return f"n{self.numbers}"

    def call(self, op, name):
        verb, target = op
        if verb in {"sender", "section"}:
            return self.harness.client.start_new(verb, name, target, id_reuse=bide.IdReusePolicy.KEEP)
        return self.harness.client.signal_entity(target, verb, [name])

    async def do(self, ops, pauses=()):
        while ops:
            calls = []
            for at, (op, name) in enumerate(ops):
                calls.append(asyncio.ensure_future(self.call(op, name)))
                for _ in range(pauses[at] if at < len(pauses) else 0):
                    await asyncio.sleep(0)
            await asyncio.wait(calls)
            refused = []
            for (op, name), call in zip(ops, calls, strict=True):
                if isinstance(call.exception(), bide.StoreUnavailableError):
                    refused.append((op, name))
                else:
                    call.result()
                    self.expect(op, name)
            ops, pauses = refused, ()

    def expect(self, op, name):
        verb, target = op
        match verb:
            case "sender":
                self.started[name] = op
                self.expected[target].update([(name, 1), (name, 2), (name, 3)])
                self.expected["@cell@z"].update([(name, 2, "passed")])
            case "section":
                self.started[name] = op
                for each in target:
                    self.expected[each].update([(name, 1), (name, 2)])
            case "write" | "pass":
                self.expected[target].update([(name,)])
                self.expected["@cell@z"].update([(name, "passed")] * (verb == "pass"))

    async def start_and_break_off(self, ops, rounds, verb):
        await self.do(ops)
        for _ in range(rounds):
            await asyncio.sleep(0)
        for _, name in ops:
            while True:
                try:
                    await (
                        self.harness.client.terminate(name)
                        if verb == "terminate"
                        else self.harness.client.purge(name, force=True)
                    )
                except bide.StoreUnavailableError:
                    continue
                except bide.InstanceEndedError:
                    break
                self.broken_off.add(name)
                break

    @rule(entity=st.sampled_from(CELLS))
    def evict(self, entity):
        self.harness.hub.partition.evict(entity)

    @rule()
    def restart(self):
        self.runner.run(self.harness.hub.close())
        self.runner.run(self.open())

    @rule(
        ops=st.lists(st.one_of(SENDERS, SECTIONS), min_size=1, max_size=4),
        rounds=st.integers(0, 40),
        lands=st.booleans(),
    )
    def crash(self, ops, rounds, lands):
        """Leave the hub lying in the middle of its work, and open another one on the same store.

        What was being written is written all the same, or never.
        """
        self.runner.run(self.start_and_crash([(op, self.name()) for op in ops], rounds, lands))

    async def start_and_crash(self, ops, rounds, lands):
        await self.do(ops)
        for _ in range(rounds):
            await asyncio.sleep(0)
        for task in (*self.harness.hub._tasks, *self.harness.hub._jobs._tasks):
            task.cancel()
        commits = [task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "FaultyStore._commit"]
        if not lands:
            for commit in commits:
                commit.cancel()
        if commits:
            await asyncio.wait(commits)
        await self.open()

    @rule(commits=st.integers(1, 3))
    def fail_commits(self, commits):
        self.store.fail_next(commits)

    @invariant()
    def all_is_done_once(self):
        if hasattr(self, "harness"):
            self.runner.run(self.compare())

    async def compare(self):
        await self.harness.run_until_idle()
        client = self.harness.client
        for name in set(self.started) - self.broken_off:
            status = await client.get_status(name)
            assert (status.runtime_status, status.output) == (Status.COMPLETED, "done"), status
        for each in CELLS:
            status = await client.get_entity(each)
            state = [tuple(value) for value in status.state] if status is not None else []
            self.check(each, state)
            assert status is None or (status.locked_by, status.backlog) == (None, 0)
        assert len((await client.list_entities()).items) <= len(CELLS)

    def check(self, entity, state):
        written, expected = Counter(state), self.expected[entity]
        assert written <= expected
        assert all(value[0] in self.broken_off for value in expected - written), (entity, expected - written)
        for name, (verb, _) in self.started.items():
            steps = [
                at for at, value in enumerate(state) if value[0] == name and len(value) == 2 and value[1] != "passed"
            ]
            assert [state[at][1] for at in steps] == list(range(1, len(steps) + 1)), "in order of the sender"
            if verb == "section" and steps:
                assert steps == list(range(steps[0], steps[0] + len(steps))), "nothing in between"

    def teardown(self):
        if hasattr(self, "harness"):
            self.runner.run(self.harness.hub.close())
            self.runner.close()


TestEntityPromises = EntityPromises.TestCase
TestEntityPromises.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
