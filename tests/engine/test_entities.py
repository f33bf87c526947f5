"""Entities on the whole engine: order, one at a time, failures, time, deletion; resident and evicted alike."""

import asyncio
import threading
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import pytest

import bide
from bide import App, EntityContext, EntityId
from bide import OrchestrationRuntimeStatus as Status
from bide.store import MemoryStore
from bide.testing import Harness

COUNTER = EntityId("Counter", "a")


async def ended(harness: Harness, instance_id: str) -> bide.OrchestrationStatus:
    await harness.run_until_idle()
    status = await harness.client.get_status(instance_id)
    assert status.runtime_status.is_ended, status
    return status


async def run(harness: Harness, name: str, value=None):
    """Run an orchestrator to its end and return its output."""
    status = await ended(harness, await harness.client.start_new(name, client_input=value))
    assert status.runtime_status is Status.COMPLETED, status.output
    return status.output


async def state_of(harness: Harness, entity_id):
    await harness.run_until_idle()
    status = await harness.client.get_entity(entity_id)
    return status.state if status is not None else None


async def rows(harness: Harness) -> list:
    """What the store knows of entities, whether or not they have a state."""
    await harness.run_until_idle()
    return [str(each.entity_id) for each in (await harness.client.list_entities()).items]


def counters(**options) -> App:
    app = App(**options)

    @app.entity
    def counter(context: EntityContext):
        value = context.get_state(lambda: 0)
        match context.operation_name:
            case "add":
                context.set_state(value + context.get_input(int))
            case "get":
                return value
            case "fail":
                context.set_state(-1)
                context.signal_entity("@counter@other", "add", 1)
                raise ValueError("no")
            case "reset":
                context.destruct_on_exit()
            case "unspeakable":
                context.set_state(-2)
                return object()
        return None

    @app.entity(name="Log")
    @dataclass
    class Log:
        lines: list = field(default_factory=list)

        def write(self, line) -> int:
            self.lines.append(line)
            return len(self.lines)

        def read(self):
            return self.lines

    return app


# From an orchestrator


async def test_calls_and_signals_of_one_orchestrator_are_done_in_order(open_harness):
    @(app := counters()).orchestrator
    def writer(context):
        log = EntityId("log", "x")
        context.signal_entity(log, "write", 1)
        call = context.call_entity("@LOG@x", "write", 2)
        context.signal_entity(log, "write", 3)
        number = yield call
        context.signal_entity(log, "write", 4)
        return [number, (yield context.call_entity(log, "read", type=list[int]))]

    async with open_harness(app) as harness:
        assert await run(harness, "writer") == [2, [1, 2, 3, 4]]


async def test_a_replay_asks_an_entity_once(open_harness):
    """The orchestrator is replayed at each event; the entity is not asked again."""

    @(app := counters()).orchestrator
    def patient(context):
        for amount in (1, 2, 3):
            yield context.call_entity(COUNTER, "add", amount)
            yield context.wait_for_external_event("Next")
        return (yield context.call_entity(COUNTER, "get"))

    async with open_harness(app) as harness:
        await harness.client.start_new("patient", "p")
        for _ in range(3):
            await harness.client.raise_event("p", "Next")
        assert (await ended(harness, "p")).output == 6
        kinds = [entry.event.event_type for entry in await harness.client.get_history("p")]
        assert kinds.count("EntityOperationCalled") == kinds.count("EntityOperationCompleted") == 4


async def test_changed_code_is_found_out(open_harness):
    version, store = ["add"], MemoryStore()

    @(app := counters()).orchestrator
    def changing(context):
        yield context.call_entity(COUNTER, version[0], 1)
        yield context.wait_for_external_event("Go")

    async with open_harness(app, store=store) as harness:
        await harness.client.start_new("changing", "c")
        await harness.run_until_idle()
    version[0] = "get"
    async with open_harness(app, store=store) as harness:
        await harness.client.raise_event("c", "Go")
        output = (await ended(harness, "c")).output
        assert (
            "history holds call of 'add' of @counter@a (#0), the code asked for call of 'get' of @counter@a" in output
        )


async def test_a_signal_comes_at_its_time(open_harness, hour):
    """From a client, an orchestrator and an entity; nothing is there before, and a restart does not lose it."""
    app, store = counters(), MemoryStore()

    @app.orchestrator
    def later(context):
        context.signal_entity(COUNTER, "add", 10, scheduled_time=context.current_utc_datetime + hour)

    @app.entity
    def relay(context):
        context.signal_entity(COUNTER, "add", 100, scheduled_time=hour)

    async with open_harness(app, store=store) as harness:
        await harness.client.signal_entity(COUNTER, "add", 1, scheduled_time=hour)
        await harness.client.signal_entity(COUNTER, "add", 1000, scheduled_time=-hour)
        await harness.client.signal_entity("@relay@x", "go")
        await run(harness, "later")
        assert await state_of(harness, COUNTER) == 1000
    async with open_harness(app, store=store) as harness:
        await harness.advance(hour - timedelta(seconds=1))
        assert await state_of(harness, COUNTER) == 1000
        await harness.advance(timedelta(seconds=1))
        assert await state_of(harness, COUNTER) == 1111


async def test_an_entity_does_one_operation_at_a_time():
    """Whatever comes meanwhile waits; other entities go on."""
    app, inside, most = App(), [], []

    @app.entity
    async def slow(context):
        inside.append(context.entity_key)
        most.append(inside.count(context.entity_key))
        for _ in range(3):
            await asyncio.sleep(0)
        inside.remove(context.entity_key)
        context.set_state(context.get_state(lambda: 0) + 1)

    async with Harness(app) as harness:
        signals = [harness.client.signal_entity(f"@slow@{number % 2}", "go") for number in range(40)]
        await asyncio.gather(*signals)
        assert [await state_of(harness, f"@slow@{key}") for key in "01"] == [20, 20]
        assert max(most) == 1


async def test_plain_operations_run_in_threads_and_coroutines_in_the_loop():
    """Also where a class has both."""
    app, threads = App(), {}

    def note(name):
        threads[name] = threading.current_thread() is threading.main_thread()

    @app.entity
    def plain(context):
        note("plain")

    @app.entity
    @dataclass
    class Both:
        def blocking(self):
            note("blocking")

        async def waiting(self):
            note("waiting")

    async with Harness(app) as harness:
        for entity, operation in (("@plain@x", ""), ("@both@x", "blocking"), ("@both@x", "waiting")):
            await harness.client.signal_entity(entity, operation)
        await harness.run_until_idle()
        assert threads == {"plain": False, "blocking": False, "waiting": True}


# Failures


@pytest.mark.parametrize("operation", ["fail", "unspeakable"])
@pytest.mark.parametrize("rolls_back", [True, False])
async def test_an_operation_that_fails(open_harness, operation, rolls_back):
    """The caller is told; what it did is taken back, unless the app says otherwise; the next one goes on."""

    @(app := counters(rolls_back_entities=rolls_back)).orchestrator
    def careful(context):
        context.signal_entity(COUNTER, "add", 5)
        try:
            yield context.call_entity(COUNTER, operation)
        except bide.TaskFailedError as error:
            return [error.task_name, error.error_type, (yield context.call_entity(COUNTER, "get"))]

    left = 5 if rolls_back else {"fail": -1, "unspeakable": -2}[operation]
    kind = {"fail": "ValueError", "unspeakable": "bide.errors.PayloadNotSerializableError"}[operation]
    async with open_harness(app) as harness:
        assert await run(harness, "careful") == [f"{operation} of @counter@a", kind, left]
        signals = 1 if operation == "fail" and not rolls_back else None
        assert await state_of(harness, "@counter@other") == signals


async def test_an_operation_that_cancels_itself(open_harness):
    """It fails like any other; the hub and the next operation go on."""
    app = App()

    @app.entity
    async def hasty(context):
        if context.operation_name == "cancel":
            raise asyncio.CancelledError
        context.set_state("fine")

    async with open_harness(app) as harness:
        for operation in ("cancel", "go"):
            await harness.client.signal_entity("@hasty@x", operation)
        assert await state_of(harness, "@hasty@x") == "fine"


async def test_an_operation_that_the_closing_hub_broke_off_runs_again():
    """It takes effect once, after the next start."""
    app, store, begun, runs = App(), MemoryStore(), asyncio.Event(), []

    @app.entity
    async def slow(context):
        runs.append(context.operation_name)
        begun.set()
        if len(runs) == 1:
            await asyncio.Event().wait()
        context.set_state(context.get_state(int) + 1)

    async with Harness(app, store) as harness:
        await harness.client.signal_entity("@slow@x", "go")
        await begun.wait()
    async with Harness(app, store) as harness:
        assert await state_of(harness, "@slow@x") == 1
        assert runs == ["go", "go"]


async def test_an_entity_that_nobody_registered(open_harness):
    """A caller gets a failure, a client an error with a close match, and a signal becomes a dead letter."""

    @(app := counters()).orchestrator
    def lost(context):
        context.signal_entity("@nobody@x", "add", 1)
        try:
            yield context.call_entity("@nobody@x", "add", 1)
        except bide.TaskFailedError as error:
            return error.error_type

    async with open_harness(app) as harness:
        assert await run(harness, "lost") == "EntityNotFoundError"
        with pytest.raises(bide.EntityNotFoundError, match="Did you mean 'counter'"):
            await harness.client.signal_entity("@count@x", "add", 1)
        letters = (await harness.client.dead_letters()).items
        assert {(each.instance_id, each.name, each.data, each.reason) for each in letters} == {
            ("@nobody@x", "add", 1, "unknown-entity"),
            ("@count@x", "add", 1, "unknown-entity"),
        }
        assert await rows(harness) == []


async def test_code_that_is_not_there_for_a_while():
    """What an entity has to do is kept, also a batch that was running, until its code is there again."""
    store, app = MemoryStore(), counters()
    async with Harness(app, store) as harness:
        await harness.client.signal_entity(COUNTER, "add", 1)
        await harness.run_until_idle()
        await harness.client.signal_entity(COUNTER, "add", 10)
    async with Harness(App(), store) as harness:
        await harness.client.signal_entity(COUNTER, "add", 100)
        await harness.run_until_idle()
    async with Harness(app, store) as harness:
        assert await state_of(harness, COUNTER) == 111


# Between entities


async def test_entities_signal_each_other_and_themselves(open_harness):
    app = App()

    @app.entity
    def countdown(context):
        left = context.get_input()
        context.set_state(left)
        if left:
            context.signal_entity(EntityId("countdown", "x" if context.entity_key == "y" else "y"), "next", left - 1)

    async with open_harness(app) as harness:
        await harness.client.signal_entity("@countdown@y", "next", 10)
        assert [await state_of(harness, f"@countdown@{key}") for key in "xy"] == [1, 0]


async def test_an_entity_starts_an_orchestration(open_harness):
    """Under an id that it knows, or one that is made; an unknown name fails the operation."""
    app = counters()

    @app.orchestrator
    def report(context):
        return [context.instance_id, context.get_input()]

    @app.entity
    def starter(context):
        if context.operation_name == "wrong":
            context.start_new("repot")
        context.set_state([context.start_new(report, 1, "the-report"), context.start_new("report", 2)])

    async with open_harness(app) as harness:
        await harness.client.signal_entity("@starter@x", "go")
        first, second = await state_of(harness, "@starter@x")
        assert first == "the-report"
        assert (await ended(harness, first)).output == [first, 1]
        assert (await ended(harness, second)).output == [second, 2]
        await harness.client.signal_entity("@starter@y", "wrong")
        assert await state_of(harness, "@starter@y") is None


async def test_an_orchestration_that_cannot_be_started_is_logged(open_harness, caplog):
    """Its id is in use; nobody is there to be told."""
    app = counters()

    @app.orchestrator
    def waiter(context):
        yield context.wait_for_external_event("A")

    @app.entity
    def starter(context):
        context.start_new("waiter", instance_id="w")

    async with open_harness(app) as harness:
        await harness.client.start_new("waiter", "w", "first")
        await harness.client.signal_entity("@starter@x", "go")
        await harness.run_until_idle()
        assert (await harness.client.get_status("w")).input == "first"
        assert "could not start" in caplog.text
        assert "'w' already exists" in caplog.text


# Classes


@dataclass
class Amount:
    value: int


def accounts() -> App:
    app = App()

    @app.entity
    class Account(msgspec.Struct):
        balance: int = 0

        def deposit(self, amount: Amount):
            assert isinstance(amount, Amount)
            self.balance += amount.value
            return self.balance

        async def get(self):
            return self.balance

        def who(self, context: EntityContext, greeting: str = "hello"):
            return [greeting, str(context.entity_id), context.operation_name, context.is_newly_constructed]

        def close(self, context: "bide.EntityContext"):
            context.destruct_on_exit()

        def _hidden(self): ...

    @app.orchestrator
    def call(context):
        operation, value = context.get_input()
        try:
            return (yield context.call_entity("@account@x", operation, value))
        except bide.TaskFailedError as error:
            return error.message

    return app


@pytest.mark.parametrize(
    ("operation", "value", "result", "state"),
    [
        ("deposit", {"value": 5}, 12, {"balance": 12}),
        ("DEPOSIT", {"value": 5}, 12, {"balance": 12}),
        ("get", None, 7, {"balance": 7}),
        ("who", None, ["hello", "@account@x", "who", False], {"balance": 7}),
        ("who", "hi", ["hi", "@account@x", "who", False], {"balance": 7}),
        ("deposit", "much", "Expected `object`, got `str`", {"balance": 7}),
        (
            "_hidden",
            None,
            "Entity 'account' has no operation '_hidden', only close, deposit, get, who.",
            {"balance": 7},
        ),
        ("close", None, None, None),
        ("delete", None, None, None),
    ],
)
async def test_operations_of_a_class(open_harness, operation, value, result, state):
    async with open_harness(accounts()) as harness:
        await harness.client.signal_entity("@account@x", "deposit", Amount(7))
        assert await run(harness, "call", [operation, value]) == result
        assert await state_of(harness, "@account@x") == state


async def test_looking_at_an_entity_does_not_make_one(open_harness):
    async with open_harness(accounts()) as harness:
        assert await run(harness, "call", ["get", None]) == 0
        assert await rows(harness) == []


# Nothing stays


async def test_deletion_leaves_nothing(open_harness):
    """Neither a row nor a turn; the next operation finds it new."""
    store = MemoryStore()
    async with open_harness(counters(), store=store) as harness:
        for operation in ("add", "reset", "add", "reset"):
            await harness.client.signal_entity(COUNTER, operation, 1)
        await harness.run_until_idle()
        assert (store._rows, store._ids, store._turns, store._waits) == ({}, {}, {}, {})
        await harness.client.signal_entity(COUNTER, "add", 3)
        assert await state_of(harness, COUNTER) == 3


async def test_a_purged_entity_tells_those_who_wait(open_harness):
    """A caller whose operation is not done is not left waiting."""
    app, is_stuck, go_on = App(), asyncio.Event(), asyncio.Event()

    @app.entity
    async def stuck(context):
        is_stuck.set()
        await go_on.wait()
        context.set_state("done")

    @app.orchestrator
    def caller(context):
        try:
            yield context.call_entity("@stuck@x", "go")
        except bide.TaskFailedError as error:
            return error.error_type

    async with open_harness(app) as harness:
        await harness.client.start_new("caller", "c")
        waiting = asyncio.ensure_future(harness.client.wait_for_completion("c"))
        await is_stuck.wait()
        with pytest.raises(bide.InstanceStateError):
            await harness.client.purge("@stuck@x")
        await harness.client.purge("@stuck@x", force=True)
        assert (await waiting).output == "EntityPurgedError"
        go_on.set()
        assert await rows(harness) == []
        with pytest.raises(bide.InstanceNotFoundError):
            await harness.client.purge("@stuck@x", force=True)


# Questions


async def test_entities_are_not_instances(open_harness):
    """No list of instances shows them, and no verb of instances takes them."""
    async with open_harness(counters()) as harness:
        client = harness.client
        await client.signal_entity(COUNTER, "add", 1)
        await harness.run_until_idle()
        assert (await client.get_status_by()).items == ()
        assert await client.purge_by() == 0
        text = str(COUNTER)
        for verb in (client.get_status, client.suspend, client.resume, client.terminate, client.rewind, client.restart):
            with pytest.raises(bide.InstanceNotFoundError):
                await verb(text)
        for call in (client.raise_event(text, "A"), client.wait_for_completion(text), client.get_history(text)):
            with pytest.raises(bide.InstanceNotFoundError):
                await call
        with pytest.raises(bide.InvalidIdError):
            await client.start_new("x", text)
        assert await state_of(harness, COUNTER) == 1


async def test_lists_of_entities(open_harness, hour):
    """Newest first, by name in any case, by time, by pages, with states when asked for."""
    async with open_harness(counters()) as harness:
        client, start = harness.client, harness.clock.now()
        for number, entity in enumerate(("@counter@a", "@log@x", "@counter@b")):
            await client.signal_entity(entity, "write" if "log" in entity else "add", number)
            await harness.advance(hour)
        [entity] = (await client.list_entities("LOG")).items
        assert (entity.entity_id, entity.state, entity.backlog) == (EntityId("log", "x"), None, 0)
        [entity] = (await client.list_entities("log", fetch_state=True)).items
        assert entity.state == {"lines": [1]}
        late = await client.list_entities(last_operation_from=entity.last_operation_time)
        assert [each.entity_id.key for each in late.items] == ["b", "x"]
        early = await client.list_entities(last_operation_to=entity.last_operation_time - hour)
        assert [each.entity_id.key for each in early.items] == ["a"]
        page = await client.list_entities(page_size=2)
        rest = await client.list_entities(page_size=2, continuation_token=page.continuation_token)
        assert [each.entity_id.key for each in (*page.items, *rest.items)] == ["b", "x", "a"]
        assert entity.last_operation_time.timestamp() * 1_000_000 == start + 3_600_000_000
        assert await client.get_entity("@counter@nobody") is None
