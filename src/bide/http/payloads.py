"""The JSON of the HTTP API, as pure functions. Success bodies are camelCase, history rows PascalCase, as in the extension."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec

from bide.client.base import (
    ClusterStatus,
    DeadEvent,
    EntityStatus,
    HistoryEntry,
    NodeStatus,
    OpenWait,
    OrchestrationStatus,
    QueuedMessage,
)
from bide.client.paths import BASE
from bide.model.clock import to_datetime
from bide.model.codec import decode_payload, iso_time
from bide.model.events import (
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    ExecutionCompleted,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
)
from bide.model.instance import OrchestrationRuntimeStatus

_SCHEDULED = (TaskScheduled, SubOrchestrationInstanceCreated, EntityOperationCalled)
_ENDED = (
    TaskCompleted, SubOrchestrationInstanceCompleted, EntityOperationCompleted,
    TaskFailed, SubOrchestrationInstanceFailed, EntityOperationFailed,
)  # fmt: skip


def encode(body: Any) -> bytes:
    return msgspec.json.encode(body)


def check_status(origin: str, instance_id: str, hub_name: str, key: str | None) -> dict[str, str]:
    """URLs by which an instance is managed: the body of every 202 answer to a start."""
    query = urlencode({"taskHub": hub_name, "connection": "Storage"} | ({"code": key} if key else {}))
    instance = f"{origin}{BASE}/instances/{quote_plus(instance_id)}"
    return {
        "id": instance_id,
        "statusQueryGetUri": f"{instance}?{query}",
        "sendEventPostUri": f"{instance}/raiseEvent/{{eventName}}?{query}",
        "terminatePostUri": f"{instance}/terminate?reason={{text}}&{query}",
        "purgeHistoryDeleteUri": f"{instance}?{query}",
        "restartPostUri": f"{instance}/restart?{query}",
        "suspendPostUri": f"{instance}/suspend?reason={{text}}&{query}",
        "resumePostUri": f"{instance}/resume?reason={{text}}&{query}",
        "rewindPostUri": f"{instance}/rewind?reason={{text}}&{query}",
    }


def listed(value: OrchestrationStatus) -> dict[str, Any]:
    """Show an instance in a list, which says nothing of its waits."""
    body = status(value)
    del body["waits"]
    return body


def status(value: OrchestrationStatus, *, show_output: bool = False, show_input: bool = True) -> dict[str, Any]:
    """Show an instance. Keys after `lastUpdatedTime` are bide's own; old clients ignore them."""
    body: dict[str, Any] = {
        "name": value.name,
        "instanceId": value.instance_id,
        "runtimeStatus": value.runtime_status.label,
        "input": value.input,
        "customStatus": value.custom_status,
        "output": value.output,
        "createdTime": _seconds(value.created_time),
        "lastUpdatedTime": _seconds(value.last_updated_time),
        "createdAt": iso_time(value.created_time),
        "lastUpdatedAt": iso_time(value.last_updated_time),
        "waits": [wait(each) for each in value.waits],
        "buffered": value.buffered,
        "version": value.version,
        "tags": value.tags,
        "generation": value.generation,
        "parentInstanceId": value.parent_instance_id,
        "scheduledStartTime": _optional_time(value.scheduled_start_time),
        "failure": None if value.failure is None else failure(value.failure),
    }
    if value.history is not None and value.runtime_status is not OrchestrationRuntimeStatus.PENDING:
        body["historyEvents"] = history_rows(value, show_output=show_output, show_input=show_input)
    return body


def failure(value: Any) -> dict[str, Any]:
    inner = value.inner_failure
    return {
        "errorType": value.error_type,
        "message": value.message,
        "stackTrace": value.stack_trace,
        "innerFailure": None if inner is None else failure(inner),
        "isNonRetriable": value.is_non_retriable,
    }


def wait(value: OpenWait) -> dict[str, Any]:
    return {
        "instanceId": value.instance_id,
        "name": value.name,
        "since": iso_time(value.since),
        "deadline": _optional_time(value.deadline),
        "type": value.type,
    }


def dead_letter(value: DeadEvent) -> dict[str, Any]:
    return {
        "instanceId": value.instance_id,
        "name": value.name,
        "data": value.data,
        "eventId": value.event_id,
        "raisedAt": iso_time(value.raised_at),
        "recordedAt": iso_time(value.recorded_at),
        "reason": value.reason,
    }


def queued_message(value: QueuedMessage) -> dict[str, Any]:
    return {
        "id": value.id,
        "queue": value.queue,
        "body": value.body,
        "insertedAt": iso_time(value.inserted_at),
        "visibleAt": iso_time(value.visible_at),
        "dequeueCount": value.dequeue_count,
        "expiresAt": _optional_time(value.expires_at),
    }


def queues(lengths: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "messages": count} for name, count in lengths.items()]


def cluster(value: ClusterStatus) -> dict[str, Any]:
    return {
        "partitions": value.partitions,
        "unowned": list(value.unowned),
        "offeredActivities": value.offered,
        "nodes": [_node(node) for node in value.nodes],
    }


def _node(value: NodeStatus) -> dict[str, Any]:
    return {
        "name": value.name,
        "role": value.role,
        "partitions": list(value.partitions),
        "joinedTime": iso_time(value.joined_time),
        "lastSeenTime": iso_time(value.last_seen_time),
        "waiting": value.waiting,
        "resident": value.resident,
        "running": value.running,
        "rate": value.rate,
    }


def entity(value: EntityStatus) -> dict[str, Any]:
    """Show an entity. Keys after `state` are bide's own."""
    return {
        "entityId": {"name": value.entity_id.name, "key": value.entity_id.key},
        "lastOperationTime": iso_time(value.last_operation_time),
        "state": value.state,
        "lockedBy": value.locked_by,
        "backlog": value.backlog,
    }


def entry(value: HistoryEntry) -> dict[str, Any]:
    """Show a history event whole, as `/history` does: our client makes the event of it again."""
    fields = {name: getattr(value.event, name) for name in value.event.__struct_fields__}
    if fields.get("failure") is not None:
        fields["failure"] = failure(fields["failure"])
    return {
        "turn": value.turn,
        "timestamp": iso_time(value.timestamp),
        "eventType": value.event.event_type,
        "event": fields,
    }


def history_rows(value: OrchestrationStatus, *, show_output: bool, show_input: bool) -> list[dict[str, Any]]:
    """History as `showHistory=true` gives it: what was scheduled is folded into what came of it.

    Source: `GetDurableOrchestrationStatusAsync` in the extension's `DurableClient.cs`.
    """
    entries = value.history or ()
    scheduled = {each.event.task_id: each for each in entries if isinstance(each.event, _SCHEDULED)}
    folded = {each.event.task_id for each in entries if isinstance(each.event, _ENDED)}
    rows = []
    for each in entries:
        event = each.event
        if isinstance(event, OrchestratorStarted) or (isinstance(event, _SCHEDULED) and event.task_id in folded):
            continue
        row = {"EventType": event.event_type, "Timestamp": iso_time(each.timestamp)}
        row |= _row(event, value, show_output=show_output)
        if isinstance(event, _ENDED) and event.task_id in scheduled:
            row |= _scheduling(scheduled[event.task_id])
        if not show_input:
            row.pop("Input", None)
        rows.append(row)
    return rows


def _scheduling(entry_: HistoryEntry) -> dict[str, Any]:
    event = entry_.event
    assert isinstance(event, _SCHEDULED)
    return {"ScheduledTime": iso_time(entry_.timestamp), "FunctionName": event.name, "Input": event.input}


def _row(event: HistoryEvent, status_: OrchestrationStatus, *, show_output: bool) -> dict[str, Any]:
    match event:
        case ExecutionStarted():
            return {"FunctionName": event.name, "Input": event.input}
        case ExecutionCompleted():
            result = {"Result": status_.output} if show_output else {}
            return {"OrchestrationStatus": OrchestrationRuntimeStatus(event.status).label} | result
        case TaskCompleted() | SubOrchestrationInstanceCompleted() | EntityOperationCompleted():
            return {"Result": decode_payload(event.result)} if show_output else {}
        case TaskFailed() | SubOrchestrationInstanceFailed() | EntityOperationFailed():
            return {"Reason": event.failure.message, "Details": event.failure.stack_trace}
        case _:
            fields = {_pascal(name): getattr(event, name) for name in event.__struct_fields__ if name != "task_id"}
            return {key: _row_value(key, field) for key, field in fields.items()}


def _row_value(key: str, value: Any) -> Any:
    if value is None or key not in {"FireAt", "Timestamp", "ScheduledAt"}:
        return value
    return iso_time(to_datetime(value))


def _pascal(name: str) -> str:
    return name.title().replace("_", "")


def _seconds(value: datetime) -> str:
    return value.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _optional_time(value: datetime | None) -> str | None:
    return None if value is None else iso_time(value)
