"""The rules of one entity as tables: messages in, batches, answers and locks out. No loop, no store, no clock."""

import pytest

from bide.core.entities import LARGEST_BATCH, EntityInstance
from bide.errors import InvalidIdError
from bide.model.codec import decode_turn
from bide.model.entities import (
    EntityBatchResult,
    EntityId,
    LockRequest,
    OperationRequest,
    OperationResult,
    SignalAction,
    StartAction,
    TaskAddress,
    as_entity_id,
)
from bide.model.failure import FailureDetails
from bide.model.messages import (
    EntityBatchDone,
    RequestEntity,
    StartInstance,
    TaskDone,
    TaskKind,
    TimersDue,
    UnlockEntity,
)

ID = "@cell@a"
X, Y = TaskAddress("x", "ex", 1), TaskAddress("y", "ey", 1)


class Driver:
    """Tells an entity its messages, a list a turn, and reads it back from its history after each turn, as a cold one."""

    def __init__(self):
        self.entity = EntityInstance.create(EntityId.parse(ID), 1, 0)
        self.turns = []
        self.row = None
        self.batches = []
        self.sent = []
        self.now = 0
        self.is_removed = False

    def turn(self, *messages):
        self.entity.open_turn(self.now)
        for message in messages:
            self.entity.receive(message)
        result = self.entity.close_turn()
        if result is None:
            return self
        commit = result.commit
        self.is_removed = commit.purge
        self.turns = [*([] if commit.clear_history else self.turns), commit.turn]
        self.row = commit.insert or commit.update or self.row
        self.batches += result.jobs
        self.sent += result.outbox
        if not commit.purge:
            events = [event for turn in self.turns for event in decode_turn(turn.data)]
            self.entity = EntityInstance(self.row, events, self.turns[-1].seq + 1)
        return self

    def done(self, state="1", **options):
        """Finish the last batch."""
        batch = self.batches[-1]
        result = EntityBatchResult(state, tuple(OperationResult("7") for _ in batch.operations), **options)
        return self.turn(
            EntityBatchDone(instance_id=ID, execution_id=batch.execution_id, task_id=batch.task_id, result=result)
        )

    @property
    def ran(self):
        """Names of the operations by batch."""
        return [[operation.name for operation in batch.operations] for batch in self.batches]


def op(name, caller=None, at=None):
    return RequestEntity(instance_id=ID, request=OperationRequest(name, name, None, caller), scheduled_at=at)


def lock(owner, entities=(ID,), position=0):
    return RequestEntity(instance_id=ID, request=LockRequest(owner, entities, position))


def unlock(owner):
    return UnlockEntity(instance_id=ID, owner=owner)


DONE = "done"

BATCHES = [
    # turns (DONE finishes the batch that runs), the batches that were run, who holds the lock, how many requests are left
    ([[op("a")]], [["a"]], None, 1),
    ([[op("a"), op("b")], [op("c")], DONE], [["a", "b"], ["c"]], None, 1),
    ([[op("a"), lock(X), op("b")]], [["a"]], None, 3),
    ([[op("a"), lock(X), op("b")], DONE], [["a"]], "x", 1),
    ([[lock(X), op("a"), op("b", X)]], [["b"]], "x", 2),
    ([[lock(X), op("a"), op("b", X)], DONE], [["b"]], "x", 1),
    ([[lock(X), op("a"), op("b", Y)], [unlock(X)]], [["a", "b"]], None, 2),
    ([[lock(X), op("a")], [op("b", X), unlock(X)], DONE], [["b"], ["a"]], None, 1),
    ([[lock(X), lock(Y), op("a")], [unlock(Y)]], [], "x", 1),
    ([[lock(X), lock(Y), op("a")], [unlock(X)]], [], "y", 1),
    ([[lock(X)], [unlock(Y), op("a")]], [], "x", 1),
    ([[lock(X), op("a", TaskAddress("x", "another generation", 1))]], [], "x", 1),
    ([[op(str(n)) for n in range(LARGEST_BATCH + 1)], DONE], [[str(n) for n in range(256)], ["256"]], None, 1),
]


@pytest.mark.parametrize(("turns", "batches", "owner", "left"), BATCHES)
def test_what_is_run_when(turns, batches, owner, left):
    """The same when the entity is read back from its history after each turn."""
    driver = Driver()
    for turn in turns:
        driver.done() if turn is DONE else driver.turn(*turn)
    assert driver.ran == batches
    assert driver.row.is_active == (driver.entity.jobs != [])
    shown = driver.row.custom_status or "{}"
    assert (f'"lockedBy":"{owner}"' in shown) == (owner is not None)
    assert f'"backlog":{left}' in shown


def test_a_batch_is_the_same_when_it_is_run_again():
    """What came meanwhile is not in it, and a result that is not its own is dropped."""
    driver = Driver().turn(op("a"), op("b")).turn(op("c"))
    assert driver.entity.jobs == driver.batches
    driver.done()
    driver.batches.append(driver.batches[0])
    assert driver.done("2").row.output == "1", "the result came a second time"


def test_what_comes_of_a_batch():
    """Answers to callers, signals and starts, in order; the state."""
    driver = Driver().turn(op("a", X), op("b"), op("c", Y))
    actions = (SignalAction("s", "@cell@b", "n", "1", 9), StartAction("e", "flow", "i", "2"))
    failure = FailureDetails("E", "no")
    batch = driver.batches[0]
    results = (OperationResult("5"), OperationResult(failure=failure), OperationResult(failure=failure))
    driver.turn(
        EntityBatchDone(
            instance_id=ID,
            execution_id=batch.execution_id,
            task_id=1,
            result=EntityBatchResult('"new"', results, actions),
        )
    )
    assert driver.row.output == '"new"'
    assert driver.sent == [
        TaskDone(instance_id="x", execution_id="ex", task_id=1, result="5", kind=TaskKind.CALL),
        TaskDone(instance_id="y", execution_id="ey", task_id=1, failure=failure, kind=TaskKind.CALL),
        RequestEntity(instance_id="@cell@b", request=OperationRequest("s", "n", "1"), scheduled_at=9),
        StartInstance(instance_id="i", name="flow", execution_id="e", input="2"),
    ]


def test_a_lock_goes_along_its_chain():
    """To the next entity, and at the end to the orchestration, with all that it locked."""
    chain = ("@cell@0", ID, "@cell@b")
    driver = Driver().turn(lock(X, chain, 1))
    assert driver.sent == [RequestEntity(instance_id="@cell@b", request=LockRequest(X, chain, 2))]
    last = Driver().turn(lock(X, chain[:2], 1))
    assert last.sent == [
        TaskDone(instance_id="x", execution_id="ex", task_id=1, kind=TaskKind.LOCK, entities=chain[:2])
    ]


def test_delayed_signals_join_the_queue_in_order_of_their_times():
    due = TimersDue(instance_id=ID)
    driver = Driver().turn(op("late", at=20), op("early", at=10), op("twin", at=10), op("now", at=0))
    assert (driver.ran, driver.row.next_timer_at) == ([["now"]], 10)
    driver.done(None)
    driver.now = 9
    assert driver.turn(due).ran == [["now"]]
    driver.now = 15
    assert driver.turn(due).ran == [["now"], ["early", "twin"]]
    assert driver.row.next_timer_at == 20
    driver.now = 25
    assert driver.done().turn(due).ran[-1] == ["late"]
    assert driver.done().row.next_timer_at is None


@pytest.mark.parametrize(
    ("turns", "is_removed"),
    [
        ([[op("a")], "1"], False),
        ([[op("a")], None], True),
        ([[op("a", at=5)]], False),
        ([[lock(X)]], False),
        ([[lock(X)], [unlock(X)]], True),
        ([[lock(X), unlock(X)]], True),
    ],
)
def test_an_entity_with_nothing_to_remember_is_removed(turns, is_removed):
    driver = Driver()
    for turn in turns:
        driver.turn(*turn) if isinstance(turn, list) else driver.done(turn)
    assert driver.is_removed == is_removed


def test_the_history_stays_small():
    """One turn when there is nothing to do; a long queue is not written again for each operation."""
    driver, written = Driver(), 0
    for number in range(50):
        driver.turn(op(str(number))).done()
        assert len(driver.turns) == 1
    driver.turn(lock(X), *(op(str(number)) for number in range(1000)))
    for number in range(100):
        driver.turn(op(f"x{number}", X)).done()
        written += len(driver.turns[-1].data)
    assert written < 20_000
    assert len(driver.entity._queue) == 1000


def test_those_who_wait_for_a_removed_entity_are_told_and_signals_are_dead():
    driver = Driver().turn(op("a", X), lock(Y), op("b"))
    letters, answers = driver.entity.remove(0)
    assert [(letter.name, letter.reason) for letter in letters] == [("b", "discarded")]
    assert [(answer.instance_id, answer.kind, answer.failure.error_type) for answer in answers] == [
        ("x", TaskKind.CALL, "EntityPurgedError"),
        ("y", TaskKind.LOCK, "EntityPurgedError"),
    ]


@pytest.mark.parametrize(
    ("text", "name", "key"),
    [
        ("@Counter@a", "counter", "a"),
        ("@c@A@b", "c", "A@b"),
        ("@STRASSE@ä", "strasse", "ä"),
        ("@Straße@x", "strasse", "x"),
    ],
)
def test_ids(text, name, key):
    """Names in any case are one, keys are not; an id given as such is taken as it is."""
    entity_id = EntityId.parse(text)
    assert (entity_id.name, entity_id.key, str(entity_id)) == (name, key, f"@{name}@{key}")
    assert as_entity_id(text) == as_entity_id(entity_id) == EntityId(name.upper(), key)


@pytest.mark.parametrize("text", ["", "a", "@a", "@a@", "@@b", "a@b", "@a@$", "@a@x/y", "@a@x\n", "@a@" + "x" * 300, 7])
def test_what_is_not_an_id(text):
    with pytest.raises(InvalidIdError):
        EntityId.parse(text)


def test_ids_have_an_order():
    ids = [EntityId("b", "a"), EntityId("a", "b"), EntityId("A", "a")]
    assert sorted(ids) == [EntityId("a", "a"), EntityId("a", "b"), EntityId("b", "a")]
