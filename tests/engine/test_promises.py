"""The promises, against a simple model: no event is lost, each is consumed once, in order, whatever crashes or fails.

Operations come in bursts that are under way at the same time, on a store that takes a while and sometimes fails. What each of
them must answer follows from a model that knows nothing of batches: the hub takes them one after the other.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import bide
from bide import OrchestrationRuntimeStatus as Status
from bide.store import MemoryStore
from bide.testing import FaultyStore, Harness

app = bide.App()


@app.activity
async def echo(value):
    return value


@app.orchestrator
def alternate(context):
    """Consume A, B, A, B …, in instance "z" every third time through an activity; renew itself when told to by a value."""
    seen = context.get_input() or []
    context.set_custom_status(seen)
    while True:
        loser = context.wait_for_external_event("never")
        wait = context.wait_for_external_event("AB"[len(seen) % 2])
        yield context.task_any([loser, wait])
        value = wait.result
        if context.instance_id == "z" and len(seen) % 3 == 0:
            value = yield context.call_activity(echo, value)
        seen.append(value)
        context.set_custom_status(seen)
        if value["stop"]:
            return seen
        if value["renew"]:
            context.continue_as_new(seen)
            return None


@dataclass(frozen=True)
class Op:
    """A verb on an instance. `number` makes the event and its id: equal numbers are the same event, raised again."""

    verb: str
    instance: str
    name: str = ""
    number: int = 0
    stop: bool = False
    renew: bool = False

    @property
    def value(self) -> dict:
        return {"n": self.number, "stop": self.stop, "renew": self.renew}

    def call(self, client: bide.Client):
        match self.verb:
            case "raise":
                return client.raise_event(self.instance, self.name, self.value, event_id=f"e{self.number}")
            case "start":
                return client.start_new("alternate", self.instance)
            case "replace":
                return client.start_new("alternate", self.instance, id_reuse=bide.IdReusePolicy.REPLACE_ANY)
            case "purge":
                return client.purge(self.instance, force=True)
            case verb:
                return getattr(client, verb)(self.instance)


class Model:
    """What an instance of `alternate` must do."""

    def __init__(self):
        self.arrived = {"A": [], "B": []}
        self.seen = []
        self.status = Status.RUNNING
        self.is_renewing = False  # the next generation begins in a turn of its own, after what is there already
        self.event_ids = set()

    @property
    def has_ended(self):
        return self.status in {Status.COMPLETED, Status.TERMINATED}

    def step(self):
        """Consume what can be consumed."""
        while self.status is Status.RUNNING and not self.is_renewing:
            queue = self.arrived["AB"[len(self.seen) % 2]]
            if not queue:
                return
            value = queue.pop(0)
            self.seen.append(value)
            if value["stop"]:
                self.status = Status.COMPLETED
            self.is_renewing = value["renew"] and not value["stop"]

    def settle(self):
        """Time passes: generations that are due begin."""
        while self.status is Status.RUNNING and self.is_renewing:
            self.is_renewing = False
            self.step()


class World:
    """All instances. `expect` does an operation on the models and tells what it must answer."""

    def __init__(self):
        self.models = {}
        self.unconsumed = defaultdict(list)

    def expect(self, op: Op):
        model = self.models.get(op.instance)
        if op.verb in {"start", "replace"}:
            return self.expect_start(op, model)
        if model is None:
            return bide.InstanceNotFoundError
        if op.verb == "purge":
            del self.models[op.instance]
            return "done"
        if op.verb == "raise" and op.number in model.event_ids:
            return "duplicate"
        if model.has_ended:
            return bide.InstanceEndedError
        return self.expect_change(op, model)

    def expect_start(self, op, model):
        if op.verb == "start" and model is not None and not model.has_ended:
            return bide.InstanceExistsError
        self.models[op.instance] = Model()
        return "done"

    def expect_change(self, op, model):
        match op.verb:
            case "raise":
                model.event_ids.add(op.number)
                model.arrived[op.name.upper()].append(op.value)
            case "suspend":
                model.status = Status.SUSPENDED
            case "resume" if model.status is Status.SUSPENDED:
                model.status = Status.RUNNING
                model.is_renewing = False
            case "terminate":
                model.status = Status.TERMINATED
        model.step()
        return "done"


INSTANCES = st.sampled_from(["x", "y"])
VERBS = ["raise", "raise", "raise", "raise", "start", "suspend", "resume", "terminate", "purge", "replace"]
RAISES = st.builds(
    Op,
    verb=st.just("raise"),
    instance=INSTANCES,
    name=st.sampled_from(["A", "B", "a"]),
    number=st.integers(0, 40),
    renew=st.booleans(),
)
CONTROLS = st.builds(Op, verb=st.sampled_from(["start", "suspend", "resume"]), instance=INSTANCES)
ENDS = st.builds(Op, verb=st.sampled_from(["terminate", "purge", "replace"]), instance=INSTANCES)


class Promises(RuleBasedStateMachine):
    """Random schedules on the real engine."""

    @initialize(latency=st.integers(0, 5), max_resident=st.sampled_from([0, 1, 3]))
    def begin(self, latency, max_resident):
        self.runner = asyncio.Runner()
        self.store = FaultyStore(MemoryStore(), latency)
        self.max_resident = max_resident
        self.world = World()
        self.runner.run(self.open())

    async def open(self):
        self.harness = Harness(app, self.store, max_resident=self.max_resident)
        await self.harness.__aenter__()

    @rule(ops=st.lists(st.one_of(RAISES, RAISES, RAISES, CONTROLS), min_size=1, max_size=8))
    def burst(self, ops):
        """Several operations at once."""
        self.runner.run(self.do(ops))

    @rule(op=ENDS, ops=st.lists(RAISES, max_size=3))
    def end(self, op, ops):
        """An instance is ended, removed or replaced while others still want something of it."""
        self.runner.run(self.do([*ops, op, *ops]))

    @rule(verb=st.sampled_from(VERBS), name=st.sampled_from("AB"), number=st.integers(0, 40), renew=st.booleans())
    def alone(self, verb, name, number, renew):
        """One operation at a time for the instance that has activities: when those are done is nobody's to say."""
        self.runner.run(self.do([Op(verb, "z", name, number, renew=renew)]))

    @rule(op=RAISES)
    def stop(self, op):
        self.runner.run(self.do([Op("raise", op.instance, op.name, op.number + 100, stop=True)]))

    @rule(
        ops=st.lists(
            st.tuples(
                st.builds(
                    Op,
                    verb=st.sampled_from(VERBS),
                    instance=st.just("w"),
                    name=st.sampled_from("AB"),
                    number=st.integers(0, 5),
                    stop=st.integers(0, 9).map(lambda n: n == 0),
                ),
                st.integers(0, 4),
            ),
            min_size=2,
            max_size=8,
        )
    )
    def one_after_the_other(self, ops):
        """Operations on one instance, some rounds apart: earlier ones are being written while later ones are decided."""
        self.runner.run(self.do([op for op, _ in ops], [pause for _, pause in ops]))

    async def do(self, ops, pauses=()):
        """Do all at once; repeat those that the store refused, as their error says is safe."""
        while ops:
            calls = []
            for op, pause in zip_longest(ops, pauses[: len(ops)], fillvalue=0):
                calls.append(asyncio.ensure_future(op.call(self.harness.client)))
                for _ in range(pause):
                    await asyncio.sleep(0)
            await asyncio.wait(calls)
            refused = []
            for op, call in zip(ops, calls, strict=True):
                error = call.exception()
                if isinstance(error, bide.StoreUnavailableError):
                    refused.append(op)
                    continue
                self.check(op, call.result() if error is None else error)
            await self.harness.run_until_idle()  # repeated ones come after all others, in the model too
            for model in self.world.models.values():
                model.settle()
            ops = refused

    def check(self, op, answer):
        expected = self.world.expect(op)
        if isinstance(answer, bide.RaisedEvent):
            answer = "duplicate" if answer.is_duplicate else "done"
        elif not isinstance(answer, BaseException):
            answer = "done"
        if isinstance(expected, str):
            assert answer == expected, (op, answer)
        else:
            assert isinstance(answer, expected), (op, answer, expected)

    @rule(instance=INSTANCES)
    def evict(self, instance):
        self.harness.hub.partition.evict(instance)

    @rule()
    def restart(self):
        """Close the hub in an orderly way and open it again."""
        self.runner.run(self.harness.hub.close())
        self.runner.run(self.open())

    @rule()
    def crash(self):
        """Leave the hub lying, with whatever it is doing, and open another one on the same store."""
        for task in self.harness.hub._tasks:
            task.cancel()
        self.runner.run(self.open())

    @rule(commits=st.integers(1, 3))
    def fail_commits(self, commits):
        """The store is full, or gone, for a while."""
        self.store.fail_next(commits)

    @invariant()
    def what_is_seen_is_what_the_model_says(self):
        if hasattr(self, "harness"):
            self.runner.run(self.compare())

    async def compare(self):
        await self.harness.run_until_idle()
        client = self.harness.client
        assert {each.instance_id for each in (await client.get_status_by()).items} == set(self.world.models)
        for instance, model in self.world.models.items():
            status = await client.get_status(instance)
            assert status.runtime_status is model.status, (status, model.seen)
            assert status.custom_status == model.seen
            left = {name: len(queue) for name, queue in model.arrived.items() if queue}
            if not model.has_ended:
                counts = defaultdict(int)
                for name, count in status.buffered.items():
                    counts[name.upper()] += count
                assert counts == left
            else:
                letters = (await client.dead_letters(instance_id=instance, page_size=1000)).items
                unconsumed = [letter.data for letter in letters if letter.reason == "unconsumed"]
                assert all(value in unconsumed for queue in model.arrived.values() for value in queue)

    def teardown(self):
        if hasattr(self, "harness"):
            self.runner.run(self.harness.hub.close())
            self.runner.close()


TestPromises = Promises.TestCase
TestPromises.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
