"""Running a batch of operations: the state as it goes from one to the next, and what is taken back when one fails.

Whoever runs the batch calls `begin`, the user's code, and `complete` or `fail`, for one operation after the other.
"""

from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid5

from bide.core.entity_context import EntityContext
from bide.model.codec import encode_payload
from bide.model.entities import (
    EntityBatch,
    EntityBatchResult,
    EntityId,
    OperationRequest,
    OperationResult,
    SignalAction,
    StartAction,
)
from bide.model.failure import failure_of

_ACTIONS = UUID("2c0f0f5b-9d3c-5f0e-8a77-1d1f6c7f1a52")
"""Name space of what operations send: the ids are the same when the batch is run again."""


class BatchRun:
    """A batch under way. `state` and `actions` are as the operations so far have left them."""

    def __init__(
        self, batch: EntityBatch, orchestrators: Collection[str], *, limit: int | None, rolls_back: bool
    ) -> None:
        """`orchestrators` are the names that can be started, `limit` is the largest payload in bytes.

        With `rolls_back` what a failed operation did to the state, and what it sent, is taken back.
        """
        self.entity_id = EntityId.parse(batch.entity_id)
        self.timestamp = batch.timestamp
        self.orchestrators = orchestrators
        self.limit = limit
        self.state = batch.state
        self.actions: list[SignalAction | StartAction] = []
        self.is_destructed = False
        self._batch = batch
        self._rolls_back = rolls_back
        self._results: list[OperationResult] = []
        self._before: tuple[str | None, int] = (None, 0)
        self._ids = 0

    def begin(self, operation: OperationRequest) -> EntityContext:
        self._before = (self.state, len(self.actions))
        self.is_destructed = False
        return EntityContext(self, operation)

    def complete(self, context: EntityContext, value: Any) -> None:
        """Take what the operation returned. Raises `PayloadNotSerializableError`, `PayloadTooLargeError`: then it failed."""
        text = context.result_text
        if not context.has_result:
            what = f"The result of operation {context.operation_name!r} of {self.entity_id}"
            text = encode_payload(value, what, self.limit)
        if self.is_destructed:
            self.state = None
        self._results.append(OperationResult(text))

    def fail(self, error: BaseException) -> None:
        if self._rolls_back:
            self.state, sent = self._before
            del self.actions[sent:]
        self._results.append(OperationResult(failure=failure_of(error)))

    def new_id(self) -> str:
        self._ids += 1
        return uuid5(_ACTIONS, f"{self._batch.execution_id}:{self._batch.task_id}:{self._ids}").hex

    @property
    def result(self) -> EntityBatchResult:
        """What the batch comes to, when all operations are done."""
        return EntityBatchResult(self.state, tuple(self._results), tuple(self.actions))
