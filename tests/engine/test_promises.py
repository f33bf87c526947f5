"""The promises, against a simple model: no event is lost, each is consumed once, in order, whatever crashes or fails."""

import asyncio
from collections import defaultdict
from functools import partial

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
    """Consume A, B, A, B …; every third time through an activity; start a new generation when told to by a value."""
    seen = context.get_input() or []
    context.set_custom_status(seen)
    while True:
        loser = context.wait_for_external_event("never")
        wait = context.wait_for_external_event("AB"[len(seen) % 2])
        yield context.task_any([loser, wait])
        value = wait.result
        if len(seen) % 3 == 0:
            value = yield context.call_activity(echo, value)
        seen.append(value)
        context.set_custom_status(seen)
        if value["stop"]:
            return seen
        if value["renew"]:
            context.continue_as_new(seen)
            return None


class Model:
    """What an instance of `alternate` must do."""

    def __init__(self):
        self.arrived = {"A": [], "B": []}
        self.seen = []
        self.status = Status.RUNNING
        self.event_ids = set()

    def step(self):
        """Consume what can be consumed."""
        while self.status is Status.RUNNING:
            queue = self.arrived["AB"[len(self.seen) % 2]]
            if not queue:
                return
            value = queue.pop(0)
            self.seen.append(value)
            if value["stop"]:
                self.status = Status.COMPLETED

    @property
    def buffered(self):
        return {name: len(queue) for name, queue in self.arrived.items() if queue}


class Promises(RuleBasedStateMachine):
    """Random schedules on the real engine."""

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.store = FaultyStore(MemoryStore())
        self.models = {}
        self.dead = defaultdict(int)
        self.number = 0
        self.run(self.open)

    def run(self, verb, *arguments, **options):
        """Call a verb; when the store refuses, repeat it: that is what its error says is safe."""
        while True:
            try:
                return self.runner.run(verb(*arguments, **options))
            except bide.StoreUnavailableError:
                continue

    async def open(self):
        self.harness = Harness(app, self.store, max_resident=3)
        await self.harness.__aenter__()

    async def settle(self):
        await self.harness.run_until_idle()

    instances = st.sampled_from(["x", "y"])

    @rule(instance=instances)
    def start(self, instance):
        model = self.models.get(instance)
        if model is None or model.status in {Status.COMPLETED, Status.TERMINATED}:
            self.run(self.harness.client.start_new, "alternate", instance)
            self.models[instance] = Model()
        else:
            self.refused(bide.InstanceExistsError, self.harness.client.start_new, "alternate", instance)

    @rule(
        instance=instances,
        name=st.sampled_from(["A", "B", "a"]),
        stop=st.integers(0, 19).map(lambda n: n == 0),
        renew=st.booleans(),
        count=st.integers(1, 4),
    )
    def raise_events(self, instance, name, stop, renew, count):
        """Several raises at once, then all of them once more: the second time they are duplicates."""
        values = [{"n": self.number + n, "stop": stop, "renew": renew} for n in range(count)]
        self.number += count
        model = self.models.get(instance)
        for again in (False, True):
            for value in values:
                raised = partial(self.harness.client.raise_event, instance, name, value, event_id=f"e{value['n']}")
                if model is None:
                    self.refused(bide.InstanceNotFoundError, raised)
                elif again and value["n"] in model.event_ids:
                    assert self.run(raised).is_duplicate
                elif model.status in {Status.COMPLETED, Status.TERMINATED}:
                    self.refused(bide.InstanceEndedError, raised)
                else:
                    assert not self.run(raised).is_duplicate
                    model.event_ids.add(value["n"])
                    model.arrived[name.upper()].append(value)
                    model.step()

    @rule(instance=instances)
    def suspend(self, instance):
        self.control(instance, "suspend", Status.SUSPENDED)

    @rule(instance=instances)
    def resume(self, instance):
        self.control(instance, "resume", Status.RUNNING)

    @rule(instance=instances, often=st.integers(0, 4))
    def terminate(self, instance, often):
        if often == 0:
            self.control(instance, "terminate", Status.TERMINATED)

    def control(self, instance, verb, status):
        model = self.models.get(instance)
        called = partial(getattr(self.harness.client, verb), instance)
        if model is None:
            self.refused(bide.InstanceNotFoundError, called)
        elif model.status in {Status.COMPLETED, Status.TERMINATED}:
            self.refused(bide.InstanceEndedError, called)
        else:
            self.run(called)
            model.status = status
            model.step()

    @rule(instance=instances)
    def evict(self, instance):
        self.harness.hub.partition.evict(instance)

    @rule()
    def restart(self):
        """Close the hub in an orderly way and open it again."""
        self.run(self.harness.hub.close)
        self.run(self.open)

    @rule()
    def crash(self):
        """Leave the hub lying, with whatever it is doing, and open another one on the same store."""
        for task in self.harness.hub._tasks:
            task.cancel()
        self.run(self.open)

    @rule(commits=st.integers(1, 3))
    def fail_commits(self, commits):
        """The store is full, or gone, for a while."""
        self.store.fail_next(commits)

    def refused(self, error, verb, *arguments):
        try:
            self.run(verb, *arguments)
        except error:
            return
        raise AssertionError(f"{error.__name__} expected")

    @invariant()
    def what_is_seen_is_what_the_model_says(self):
        if not hasattr(self, "harness"):
            return
        self.run(self.settle)
        for instance, model in self.models.items():
            status = self.run(self.harness.client.get_status, instance)
            assert status.runtime_status is model.status, (status, model.seen)
            assert status.custom_status == model.seen
            counts = {}
            for name, count in status.buffered.items():
                counts[name.upper()] = counts.get(name.upper(), 0) + count
            if model.status in {Status.RUNNING, Status.SUSPENDED}:
                assert counts == model.buffered
            letters = self.run(self.harness.client.dead_letters, instance_id=instance, page_size=500).items
            unconsumed = [letter.data for letter in letters if letter.reason == "unconsumed"]
            if model.status in {Status.COMPLETED, Status.TERMINATED}:
                left = [value for queue in model.arrived.values() for value in queue]
                assert all(value in unconsumed for value in left)

    def teardown(self):
        if hasattr(self, "harness"):
            self.run(self.harness.hub.close)
            self.runner.close()


TestPromises = Promises.TestCase
TestPromises.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
