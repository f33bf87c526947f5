"""Runs batches of entities' operations. What comes of one goes back to the entity as `EntityBatchDone`."""

import asyncio
import logging

from bide.app import App
from bide.app.entities import Entity
from bide.core.batch import BatchRun
from bide.core.entity_context import EntityContext
from bide.model.entities import EntityBatch, EntityId, OperationRequest
from bide.model.messages import EntityBatchDone
from bide.runtime.jobs import JobKey, is_closing, without_our_frame

_log = logging.getLogger("bide.entities")


class BatchExecutor:
    """An `Executor`: one operation after the other, whatever becomes of each."""

    def __init__(self, app: App, limit: int) -> None:
        """`limit` is the largest state, result or input of a signal in bytes."""
        self._app = app
        self._limit = limit

    def is_async(self, batch: EntityBatch) -> bool:
        return self._entity_of(batch).is_async

    def run(self, key: JobKey, batch: EntityBatch) -> EntityBatchDone:
        entity, run = self._entity_of(batch), self._begin(batch)
        for request in batch.operations:
            context = run.begin(request)
            try:
                operation = entity.prepare(context)
                try:
                    value = operation.call()
                finally:
                    operation.save()
                run.complete(context, value)
            except BaseException as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the operation)
                _fail(run, request, context, error)
        return _done(key, run)

    async def run_async(self, key: JobKey, batch: EntityBatch) -> EntityBatchDone:
        """Plain methods of an entity that also has coroutines go to a thread: they may block."""
        entity, run = self._entity_of(batch), self._begin(batch)
        for request in batch.operations:
            context = run.begin(request)
            try:
                operation = entity.prepare(context)
                try:
                    value = await (operation.call() if operation.is_async else asyncio.to_thread(operation.call))
                finally:
                    operation.save()
                run.complete(context, value)
            except asyncio.CancelledError:
                if is_closing():
                    raise  # the batch runs again at the next start
                _fail(run, request, context, RuntimeError("the operation was cancelled from within"))
            except BaseException as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the operation)
                _fail(run, request, context, error)
        return _done(key, run)

    def _entity_of(self, batch: EntityBatch) -> Entity:
        return self._app.entities[EntityId.parse(batch.entity_id).name]

    def _begin(self, batch: EntityBatch) -> BatchRun:
        return BatchRun(batch, self._app.orchestrators, limit=self._limit, rolls_back=self._app.rolls_back_entities)


def _fail(run: BatchRun, request: OperationRequest, context: EntityContext, error: BaseException) -> None:
    """Fail the operation. Of a signal nobody is told, so the log is."""
    if request.caller is None:
        _log.error("signal %r to %s failed", context.operation_name, context.entity_id, exc_info=error)
    else:
        _log.info("operation %s of %s failed: %s", context.operation_name, context.entity_id, type(error).__name__)
    run.fail(without_our_frame(error))


def _done(key: JobKey, run: BatchRun) -> EntityBatchDone:
    return EntityBatchDone(instance_id=key[0], execution_id=key[1], task_id=key[2], result=run.result)
