"""Locks on entities: what an orchestrator holds while it is in a critical section, and what it may not do there.

The rules are those of DurableTask.Core's OrchestrationEntityContext; without them two orchestrations could wait for each
other for ever, or see an entity in between.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bide.core.tasks import PENDING, ActivityTask, Task, TaskCanceledError
from bide.errors import OrchestratorContractError

if TYPE_CHECKING:
    from bide.core.execution import Execution


class EntityLock:
    """The locks of some entities, from the moment they are asked for until they are given back.

    A context manager: leaving its block releases it. `entities` are the ids, as text.
    """

    __slots__ = ("_calls", "_execution", "_task_id", "entities", "is_held")

    def __init__(self, execution: "Execution", task_id: int, entities: tuple[str, ...]) -> None:
        self._execution = execution
        self._task_id = task_id
        self._calls: dict[str, Task[Any]] = {}
        self.entities = entities
        self.is_held = False

    def __repr__(self) -> str:
        return f"<lock of {', '.join(self.entities)}, {'held' if self.is_held else 'not held'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let others have the entities. No effect when it has been done; the end of the orchestration does it too."""
        self.is_held = False
        self._execution.release(self, self._task_id)

    def check_call(self, entity_id: str) -> None:
        """Raise `OrchestratorContractError` unless the entity is locked and does nothing for us yet."""
        if not self.is_held:
            return
        if entity_id not in self.entities:
            raise OrchestratorContractError(
                f"{entity_id} is not locked: inside a critical section only locked entities can be called. Lock it too."
            )
        before = self._calls.get(entity_id)
        if before is not None and before._state is PENDING:
            raise OrchestratorContractError(
                f"{entity_id} is being called already: inside a critical section wait for one call before the next."
            )

    def called(self, entity_id: str, task: Task[Any]) -> None:
        self._calls[entity_id] = task

    def check_signal(self, entity_id: str) -> None:
        """Raise `OrchestratorContractError` when the entity is locked."""
        if self.is_held and entity_id in self.entities:
            raise OrchestratorContractError(f"{entity_id} is locked: inside the critical section call it instead.")

    def check_child(self, name: str) -> None:
        """Raise `OrchestratorContractError`: whatever the child waits for could wait for the lock."""
        if self.is_held:
            raise OrchestratorContractError(
                f"Sub-orchestration {name!r} cannot be called inside a critical section: release {self!r} first."
            )


class LockTask(ActivityTask[EntityLock]):
    """The wait for a lock; its result is the lock, held."""

    __slots__ = ("lock",)

    def __init__(self, execution: "Execution", task_id: int, lock: EntityLock) -> None:
        super().__init__(execution, task_id, f"lock of {', '.join(lock.entities)}", None)
        self.lock = lock

    def cancel(self) -> None:
        """Withdraw the request; no effect when the lock has been granted: then release it."""
        if self._state is PENDING:
            self._settle_canceled(TaskCanceledError(self))
            self.lock.release()
