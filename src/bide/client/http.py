"""The client over HTTP: the same verbs and the same errors as in process."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import quote

import httpx
import msgspec

from bide import errors
from bide.client.base import (
    DEFAULT_PAGE_SIZE,
    Client,
    ClusterStatus,
    DeadEvent,
    EntityStatus,
    HistoryEntry,
    NodeStatus,
    OpenWait,
    OrchestrationStatus,
    QueuedMessage,
    RaisedEvent,
    ResultPage,
)
from bide.client.paths import (
    BASE,
    DUPLICATE_HEADER,
    ERROR_HEADER,
    KEY_HEADER,
    LONGEST_WAIT_SECONDS,
    TOKEN_HEADER,
)
from bide.errors import (
    ConfigurationError,
    EntityNotFoundError,
    HubUnreachableError,
    InstanceEndedError,
    InstanceNotFoundError,
    OrchestratorNotFoundError,
    PayloadTooLargeError,
    RemoteError,
    UnauthorizedError,
)
from bide.model import events
from bide.model.codec import encode_payload, iso_time
from bide.model.entities import EntityId, as_entity_id
from bide.model.failure import FailureDetails
from bide.model.instance import DeadLetterReason, IdReusePolicy, OrchestrationRuntimeStatus
from bide.model.names import (
    check_event_name,
    check_instance_id,
    check_operation_name,
    check_queue_name,
    check_storable,
    registered_name,
)
from bide.model.nodes import NodeRole

_JSON = {"content-type": "application/json"}
_TEXT = {"content-type": "text/plain; charset=utf-8"}


def connect(
    url: str, *, key: str | None = None, timeout: float = 30.0, transport: httpx.AsyncBaseTransport | None = None
) -> "HttpClient":
    """Talk to a hub that is served somewhere.

    ::

        async with bide.connect("http://127.0.0.1:7071", key=…) as client:
            await client.raise_event("permit-17", "CityPlanningApproval", True)

    `timeout` is for one request, in seconds. `transport` replaces the network, for tests.
    """
    return HttpClient(url, key=key, timeout=timeout, transport=transport)


class HttpClient(Client):
    """See `connect` and `Client`."""

    def __init__(
        self, url: str, *, key: str | None, timeout: float, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{url!r} is not an address: write http://{url}")
        self._url = url.rstrip("/")
        headers = {KEY_HEADER: key} if key is not None else {}
        self._http = httpx.AsyncClient(
            base_url=self._url, headers=headers, timeout=timeout, transport=transport, trust_env=False
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def start_new(
        self,
        orchestrator: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        *,
        start_at: datetime | timedelta | None = None,
        id_reuse: IdReusePolicy = IdReusePolicy.REPLACE_ENDED,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        path = f"orchestrators/{_quoted(registered_name(orchestrator))}"
        if instance_id is not None:
            path += f"/{_quoted(check_instance_id(instance_id))}"
        query = {
            "startAt": _time_or_span(start_at),
            "idReuse": IdReusePolicy(id_reuse).value,
            "version": version,
            "tags": encode_payload(dict(tags)) if tags else None,
        }
        response = await self._send("POST", path, query, encode_payload(client_input, "The input"))
        return str(response.json()["id"])

    async def raise_event(
        self, instance_id: str, name: str, data: Any = None, *, event_id: str | None = None
    ) -> RaisedEvent:
        text = encode_payload(data, f"The data of event {name!r}") or "null"
        path = f"instances/{_quoted(instance_id)}/raiseEvent/{_quoted(check_event_name(name))}"
        response = await self._send("POST", path, {"eventId": event_id}, text, instance_id=instance_id)
        is_duplicate = response.headers.get(DUPLICATE_HEADER) == "true"
        return RaisedEvent(instance_id=instance_id, name=name, event_id=event_id, is_duplicate=is_duplicate)

    async def get_status(
        self, instance_id: str, *, show_history: bool = False, show_input: bool = True
    ) -> OrchestrationStatus:
        query = {"showInput": _flag(value=show_input)}
        response = await self._send("GET", f"instances/{_quoted(instance_id)}", query, instance_id=instance_id)
        status = _status(response.json())
        if show_history:
            history = await self.get_history(instance_id)
            return msgspec.structs.replace(status, history=history)
        return status

    async def get_status_by(
        self,
        *,
        runtime_status: Iterable[OrchestrationRuntimeStatus] | None = None,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        instance_id_prefix: str | None = None,
        name: str | None = None,
        waiting_for: str | None = None,
        show_input: bool = True,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[OrchestrationStatus]:
        query = {
            "runtimeStatus": _labels(runtime_status),
            "createdTimeFrom": _time(created_time_from),
            "createdTimeTo": _time(created_time_to),
            "instanceIdPrefix": instance_id_prefix,
            "name": name,
            "waitingFor": waiting_for,
            "showInput": _flag(value=show_input),
            "top": str(page_size),
        }
        response = await self._send("GET", "instances", query, token=continuation_token)
        return ResultPage(tuple(_status(item) for item in response.json()), _next_token(response))

    async def wait_for_completion(
        self, instance_id: str, *, timeout: timedelta | float | None = None
    ) -> OrchestrationStatus:
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        left = float("inf") if seconds is None else seconds
        while True:
            wait = min(left, LONGEST_WAIT_SECONDS)
            response = await self._send(
                "GET",
                f"instances/{_quoted(instance_id)}",
                {"waitForCompletion": f"{wait:.3f}"},
                instance_id=instance_id,
                timeout=wait + 30,
            )
            status = _status(response.json())
            if status.runtime_status.is_ended:
                return status
            left -= wait
            if left <= 0:
                raise TimeoutError(f"Instance {instance_id!r} has not ended after {seconds:g} s")

    async def terminate(self, instance_id: str, reason: str | None = None, *, recursive: bool = False) -> None:
        await self._control(instance_id, "terminate", {"reason": reason, "recursive": _flag(value=recursive)})

    async def suspend(self, instance_id: str, reason: str | None = None) -> None:
        await self._control(instance_id, "suspend", {"reason": reason})

    async def resume(self, instance_id: str, reason: str | None = None) -> None:
        await self._control(instance_id, "resume", {"reason": reason})

    async def rewind(self, instance_id: str, reason: str | None = None) -> None:
        await self._control(instance_id, "rewind", {"reason": reason})

    async def restart(self, instance_id: str, *, restart_with_new_instance_id: bool = True) -> str:
        query = {"restartWithNewInstanceId": _flag(value=restart_with_new_instance_id)}
        return str((await self._control(instance_id, "restart", query)).json()["id"])

    async def purge(self, instance_id: str, *, force: bool = False, recursive: bool = False) -> int:
        query = {"force": _flag(value=force), "recursive": _flag(value=recursive)}
        response = await self._send("DELETE", f"instances/{_quoted(instance_id)}", query, instance_id=instance_id)
        return int(response.json()["instancesDeleted"])

    async def purge_by(
        self,
        *,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Iterable[OrchestrationRuntimeStatus] | None = None,
    ) -> int:
        query = {
            "createdTimeFrom": _time(created_time_from or datetime(1970, 1, 1, tzinfo=UTC)),
            "createdTimeTo": _time(created_time_to),
            "runtimeStatus": _labels(runtime_status),
        }
        response = await self._send("DELETE", "instances", query, none_is_404=True)
        return 0 if response.status_code == httpx.codes.NOT_FOUND else int(response.json()["instancesDeleted"])

    async def get_history(self, instance_id: str) -> tuple[HistoryEntry, ...]:
        response = await self._send("GET", f"instances/{_quoted(instance_id)}/history", {}, instance_id=instance_id)
        return tuple(_entry(item) for item in response.json())

    async def waits(
        self,
        *,
        instance_id: str | None = None,
        name: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[OpenWait]:
        path = "waits" if instance_id is None else f"instances/{_quoted(instance_id)}/waits"
        response = await self._send("GET", path, {"name": name, "top": str(page_size)}, token=continuation_token)
        return ResultPage(tuple(_wait(item) for item in response.json()), _next_token(response))

    async def dead_letters(
        self,
        *,
        instance_id: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[DeadEvent]:
        query = {"instanceId": instance_id, "top": str(page_size)}
        response = await self._send("GET", "deadLetters", query, token=continuation_token)
        return ResultPage(tuple(_dead_event(item) for item in response.json()), _next_token(response))

    async def send_queue_message(self, queue: str, body: str, *, delay: timedelta | float | None = None) -> str:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        response = await self._send(
            "POST",
            f"queues/{_quoted(check_queue_name(queue))}/messages",
            {"delay": None if seconds is None else str(seconds)},
            check_storable(body, "A message"),
            content_type=_TEXT,
        )
        return str(response.json()["id"])

    async def queues(self) -> Mapping[str, int]:
        response = await self._send("GET", "queues", {})
        return {item["name"]: item["messages"] for item in response.json()}

    async def peek_queue(self, queue: str, *, limit: int = DEFAULT_PAGE_SIZE) -> tuple[QueuedMessage, ...]:
        path = f"queues/{_quoted(check_queue_name(queue))}/messages"
        response = await self._send("GET", path, {"top": str(limit)})
        return tuple(_queued_message(item) for item in response.json())

    async def nodes(self) -> ClusterStatus:
        response = await self._send("GET", "nodes", {})
        return _cluster(response.json())

    async def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input_: Any = None,
        *,
        scheduled_time: datetime | timedelta | None = None,
    ) -> None:
        text = encode_payload(input_, f"The input of operation {operation!r}")
        query = {"op": check_operation_name(operation), "scheduledTime": _time_or_span(scheduled_time)}
        await self._send("POST", _entity_path(entity_id), query, text)

    async def get_entity(self, entity_id: EntityId | str) -> EntityStatus | None:
        response = await self._send("GET", _entity_path(entity_id), {"showDetails": "true"}, none_is_404=True)
        return None if response.status_code == httpx.codes.NOT_FOUND else _entity(response.json())

    async def list_entities(
        self,
        name: str | None = None,
        *,
        last_operation_from: datetime | None = None,
        last_operation_to: datetime | None = None,
        fetch_state: bool = False,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[EntityStatus]:
        query = {
            "lastOperationTimeFrom": _time(last_operation_from),
            "lastOperationTimeTo": _time(last_operation_to),
            "fetchState": _flag(value=fetch_state),
            "top": str(page_size),
        }
        path = "entities" if name is None else f"entities/{_quoted(name)}"
        response = await self._send("GET", path, query, token=continuation_token)
        return ResultPage(tuple(_entity(item) for item in response.json()), _next_token(response))

    async def _control(self, instance_id: str, verb: str, query: Mapping[str, str | None]) -> httpx.Response:
        return await self._send("POST", f"instances/{_quoted(instance_id)}/{verb}", query, instance_id=instance_id)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None],
        text: str | None = None,
        *,
        instance_id: str = "",
        token: str | None = None,
        timeout: float | None = None,
        none_is_404: bool = False,
        content_type: Mapping[str, str] = _JSON,
    ) -> httpx.Response:
        headers = (dict(content_type) if text is not None else {}) | (
            {TOKEN_HEADER: token} if token is not None else {}
        )
        params = {key: value for key, value in query.items() if value is not None}
        try:
            response = await self._http.request(
                method,
                f"{BASE}/{path}",
                params=params,
                content=text,
                headers=headers,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
            )
        except httpx.ReadTimeout as error:
            raise HubUnreachableError(
                f"No answer from {self._url} in time. The request may have taken effect: "
                "ask, or repeat it with the same event id."
            ) from error
        except httpx.HTTPError as error:
            raise HubUnreachableError(
                f"No answer from {self._url} ({type(error).__name__}: {error}). "
                "Is the hub served there? Start it with: bide serve app.py"
            ) from error
        is_empty = none_is_404 and response.status_code == httpx.codes.NOT_FOUND
        if not (response.is_success or is_empty):
            _raise(response, instance_id)
        return response


_NOT_REGISTERED = {cls.__name__: cls for cls in (OrchestratorNotFoundError, EntityNotFoundError)}


def _body(response: httpx.Response) -> dict[str, Any]:
    """Read an error's document; nothing of an answer that is not the hub's."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _raise(response: httpx.Response, instance_id: str) -> NoReturn:
    """Raise what the hub raised."""
    code = response.status_code
    body = _body(response)
    message = str(body.get("Message") or f"The hub answered {code}.")
    details = body.get("Details") or {}
    kind = response.headers.get(ERROR_HEADER) or body.get("ExceptionType")
    if code == httpx.codes.NOT_FOUND and kind is None and (response.content or not instance_id):
        raise HubUnreachableError(
            f"There is no bide API at {response.url.copy_with(path='/', query=None)} (404). "
            "Is it mounted below a path, such as …/flows?"
        )
    if code == httpx.codes.NOT_FOUND or kind == "InstanceNotFoundError":
        raise InstanceNotFoundError(instance_id)
    if code == httpx.codes.GONE:
        raise InstanceEndedError(instance_id, response.headers.get("x-bide-status", "ended"))
    if code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise UnauthorizedError(message)
    if kind == "PayloadTooLargeError":
        raise PayloadTooLargeError("The payload", int(details.get("size", 0)), int(details.get("limit", 0)))
    if kind in _NOT_REGISTERED:
        raise _NOT_REGISTERED[kind](str(details.get("name")), details.get("known", ()))
    known = getattr(errors, str(kind), None)
    if not (isinstance(known, type) and issubclass(known, errors.BideError)):
        raise RemoteError(message, code)
    error = known.__new__(known)
    Exception.__init__(error, message)
    for key, value in details.items():
        setattr(error, key, value)
    raise error


_BY_NAME: Mapping[str, type[events.HistoryEvent]] = {cls.__name__: cls for cls in events.HistoryEvent.__subclasses__()}


def _entry(item: dict[str, Any]) -> HistoryEntry:
    """Make the event again from its fields by name."""
    cls = _BY_NAME[item["eventType"]]
    fields: dict[str, Any] = {key: value for key, value in item["event"].items() if key in cls.__struct_fields__}
    if fields.get("failure") is not None:
        fields["failure"] = _failure(fields["failure"])
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return HistoryEntry(item["turn"], datetime.fromisoformat(item["timestamp"]), cls(**fields))


def _failure(item: dict[str, Any] | None) -> FailureDetails | None:
    if item is None:
        return None
    return FailureDetails(
        item["errorType"], item["message"], item["stackTrace"], _failure(item["innerFailure"]), item["isNonRetriable"]
    )


def _status(item: dict[str, Any]) -> OrchestrationStatus:
    return OrchestrationStatus(
        instance_id=item["instanceId"],
        name=item["name"],
        runtime_status=OrchestrationRuntimeStatus.from_label(item["runtimeStatus"]),
        created_time=datetime.fromisoformat(item["createdAt"]),
        last_updated_time=datetime.fromisoformat(item["lastUpdatedAt"]),
        input=item["input"],
        output=item["output"],
        custom_status=item["customStatus"],
        failure=_failure(item["failure"]),
        version=item["version"],
        tags=item["tags"],
        parent_instance_id=item["parentInstanceId"],
        generation=item["generation"],
        scheduled_start_time=_read_time(item["scheduledStartTime"]),
        waits=tuple(_wait(each) for each in item.get("waits", ())),
        buffered=item["buffered"],
    )


def _wait(item: dict[str, Any]) -> OpenWait:
    return OpenWait(
        instance_id=item["instanceId"],
        name=item["name"],
        since=datetime.fromisoformat(item["since"]),
        deadline=_read_time(item["deadline"]),
        type=item["type"],
    )


def _dead_event(item: dict[str, Any]) -> DeadEvent:
    return DeadEvent(
        instance_id=item["instanceId"],
        name=item["name"],
        data=item["data"],
        event_id=item["eventId"],
        raised_at=datetime.fromisoformat(item["raisedAt"]),
        recorded_at=datetime.fromisoformat(item["recordedAt"]),
        reason=DeadLetterReason(item["reason"]),
    )


def _cluster(item: dict[str, Any]) -> ClusterStatus:
    return ClusterStatus(
        nodes=tuple(_node(node) for node in item["nodes"]),
        partitions=item["partitions"],
        unowned=tuple(item["unowned"]),
        offered=item["offeredActivities"],
    )


def _node(item: dict[str, Any]) -> NodeStatus:
    return NodeStatus(
        name=item["name"],
        role=NodeRole(item["role"]),
        partitions=tuple(item["partitions"]),
        joined_time=datetime.fromisoformat(item["joinedTime"]),
        last_seen_time=datetime.fromisoformat(item["lastSeenTime"]),
        waiting=item["waiting"],
        resident=item["resident"],
        running=item["running"],
        rate=item["rate"],
    )


def _queued_message(item: dict[str, Any]) -> QueuedMessage:
    return QueuedMessage(
        id=item["id"],
        queue=item["queue"],
        body=item["body"],
        inserted_at=datetime.fromisoformat(item["insertedAt"]),
        visible_at=datetime.fromisoformat(item["visibleAt"]),
        dequeue_count=item["dequeueCount"],
        expires_at=_read_time(item["expiresAt"]),
    )


def _entity(item: dict[str, Any]) -> EntityStatus:
    return EntityStatus(
        entity_id=EntityId(item["entityId"]["name"], item["entityId"]["key"]),
        state=item["state"],
        last_operation_time=datetime.fromisoformat(item["lastOperationTime"]),
        locked_by=item["lockedBy"],
        backlog=item["backlog"],
    )


def _entity_path(entity_id: EntityId | str) -> str:
    entity_id = as_entity_id(entity_id)
    return f"entities/{_quoted(entity_id.name)}/{_quoted(entity_id.key)}"


def _quoted(segment: str) -> str:
    return quote(segment, safe="")


def _time(value: datetime | None) -> str | None:
    if value is None:
        return None
    return iso_time(value.astimezone(UTC) if value.tzinfo is not None else value)


def _time_or_span(value: datetime | timedelta | None) -> str | None:
    return _time(datetime.now(UTC) + value if isinstance(value, timedelta) else value)


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _labels(statuses: Iterable[OrchestrationRuntimeStatus] | None) -> str | None:
    return None if statuses is None else ",".join(status.label for status in statuses)


def _flag(*, value: bool) -> str:
    return "true" if value else "false"


def _next_token(response: httpx.Response) -> str | None:
    return response.headers.get(TOKEN_HEADER) or None
