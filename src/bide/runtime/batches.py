"""Runs a batch of an entity's operations. What comes of it goes back to the entity as `EntityBatchDone`."""

import asyncio
import logging

from bide.app import App
from bide.app.entities import Entity
from bide.core.batch import BatchRun
from bide.core.entity_context import EntityContext
from bide.model.entities import EntityBatch
from bide.model.messages import EntityBatchDone
from bide.runtime.jobs import is_closing, without_our_frame

_log = logging.getLogger("bide.entities")


class BatchJob:
    """A `Job`: one operation after the other, whatever becomes of each."""

    __slots__ = ("_batch", "_entity", "_run", "is_async")

    def __init__(self, batch: EntityBatch, entity: Entity, app: App, limit: int) -> None:
        """`limit` is the largest state, result or input of a signal in bytes."""
        self._batch = batch
        self._entity = entity
        self._run = BatchRun(batch, app.orchestrators, limit=limit, rolls_back=app.rolls_back_entities)
        self.is_async = entity.is_async

    def run(self) -> EntityBatchDone:
        for request in self._batch.operations:
            context = self._run.begin(request)
            try:
                operation = self._entity.prepare(context)
                try:
                    value = operation.call()
                finally:
                    operation.save()
                self._run.complete(context, value)
            except BaseException as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the operation)
                self._fail(context, error)
        return self._done()

    async def run_async(self) -> EntityBatchDone:
        """Plain methods of an entity that also has coroutines go to a thread: they may block."""
        for request in self._batch.operations:
            context = self._run.begin(request)
            try:
                operation = self._entity.prepare(context)
                try:
                    value = await (operation.call() if operation.is_async else asyncio.to_thread(operation.call))
                finally:
                    operation.save()
                self._run.complete(context, value)
            except asyncio.CancelledError:
                if is_closing():
                    raise  # the batch runs again at the next start
                self._fail(context, RuntimeError("the operation was cancelled from within"))
            except Exception as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the operation)
                self._fail(context, error)
        return self._done()

    def _fail(self, context: EntityContext, error: BaseException) -> None:
        _log.info("operation %s of %s failed: %s", context.operation_name, context.entity_id, type(error).__name__)
        self._run.fail(without_our_frame(error))

    def _done(self) -> EntityBatchDone:
        batch = self._batch
        return EntityBatchDone(
            instance_id=batch.entity_id,
            execution_id=batch.execution_id,
            task_id=batch.task_id,
            result=self._run.result,
        )
