"""Grants that reach an orchestration which does not want the lock: the whole set is given back."""

import pytest

from bide.app import App
from bide.core.instance import Instance
from bide.model.entities import TaskAddress
from bide.model.failure import FailureDetails
from bide.model.messages import RequestEntity, StartInstance, TaskDone, TaskKind, UnlockEntity

app = App()
SET = ("@cell@a", "@cell@b")


@app.orchestrator
def locker(context):
    lock = context.lock_entities(SET)
    try:
        yield context.task_any([lock, context.wait_for_external_event("Enough")])
        yield context.wait_for_external_event("End")
    finally:
        context.set_custom_status("over")


def granted(execution_id="e", task_id=0, failure=None):
    return TaskDone(
        instance_id="i", execution_id=execution_id, task_id=task_id, kind=TaskKind.LOCK, entities=SET, failure=failure
    )


@pytest.mark.parametrize(
    ("message", "is_given_back"),
    [
        (granted(), False),
        (granted("another generation"), True),
        (granted(task_id=7), True),
        (granted(failure=FailureDetails("E", "no")), True),
    ],
)
def test_a_grant(message, is_given_back):
    start = StartInstance(instance_id="i", name="locker", execution_id="e")
    instance = Instance.start(start, 1, app.orchestrators["locker"], 0)
    [request] = instance.close_turn().outbox
    assert isinstance(request, RequestEntity)
    assert (request.instance_id, request.request.entities) == (SET[0], SET)
    instance.open_turn(1)
    instance.task_done(message)
    result = instance.close_turn()
    owner = TaskAddress("i", message.execution_id, message.task_id)
    expected = [UnlockEntity(instance_id=each, owner=owner) for each in SET] if is_given_back else []
    assert result.outbox == expected
    instance.close()
