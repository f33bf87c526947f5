"""What a durable client answers with."""

from datetime import datetime
from enum import Enum
from typing import Any

from bide.client.base import OrchestrationStatus
from bide.http import payloads


class OrchestrationRuntimeStatus(Enum):
    Running = "Running"
    Completed = "Completed"
    ContinuedAsNew = "ContinuedAsNew"
    Failed = "Failed"
    Canceled = "Canceled"
    Terminated = "Terminated"
    Pending = "Pending"
    Suspended = "Suspended"


class DurableOrchestrationStatus:
    """The status of an instance, with the names of SDK 1.x and 2.x. Falsy when there is no such instance."""

    def __init__(
        self,
        name: str | None = None,
        instance_id: str | None = None,
        created_time: datetime | None = None,
        last_updated_time: datetime | None = None,
        input_: Any = None,
        output: Any = None,
        runtime_status: OrchestrationRuntimeStatus | None = None,
        custom_status: Any = None,
        history: list[Any] | None = None,
    ) -> None:
        self.name = name
        self.instance_id = instance_id
        self.created_time = self.created_at = created_time
        self.last_updated_time = self.last_updated_at = last_updated_time
        self.input_ = input_
        self.output = output
        self.runtime_status = runtime_status
        self.custom_status = custom_status
        self.history = history

    @classmethod
    def of(cls, status: OrchestrationStatus, *, show_output: bool = False, show_input: bool = True) -> Any:
        """Translate the hub's status."""
        history = None
        if status.history is not None:
            history = payloads.history_rows(status, show_output=show_output, show_input=show_input)
        return cls(
            status.name,
            status.instance_id,
            status.created_time,
            status.last_updated_time,
            status.input,
            status.output,
            OrchestrationRuntimeStatus(status.runtime_status.label),
            status.custom_status,
            history,
        )

    def __bool__(self) -> bool:
        return self.instance_id is not None

    @property
    def historyEvents(self) -> list[Any] | None:  # noqa: N802  (where SDK 1.x has it)
        return self.history

    def get_input(self) -> Any:
        return self.input_

    def get_output(self) -> Any:
        return self.output

    def get_custom_status(self) -> Any:
        return self.custom_status

    def to_json(self) -> dict[str, Any]:
        """Give what is known as JSON; what is not known is left out."""
        fields = {
            "name": self.name,
            "instanceId": self.instance_id,
            "createdTime": _iso(self.created_time),
            "lastUpdatedTime": _iso(self.last_updated_time),
            "output": self.output,
            "input": self.input_,
            "runtimeStatus": self.runtime_status.name if self.runtime_status is not None else None,
            "customStatus": self.custom_status,
            "history": self.history,
        }
        return {key: value for key, value in fields.items() if value is not None}


class PurgeHistoryResult:
    def __init__(self, instances_deleted: int) -> None:
        self.instances_deleted = instances_deleted
        self.deleted_instance_count = instances_deleted


class EntityStateResponse:
    """Whether an entity exists, and its state."""

    def __init__(self, entity_exists: bool, entity_state: Any = None) -> None:  # noqa: FBT001  (the SDK's signature)
        self.entity_exists = entity_exists
        self.entity_state = entity_state


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
