"""The endpoints, in one table: what is served, what is described in OpenAPI, and what tests walk through."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from bide.client.base import Client, OrchestrationStatus
from bide.client.paths import DUPLICATE_HEADER, EVENT_ID_HEADER, LONGEST_WAIT_SECONDS, TOKEN_HEADER
from bide.errors import (
    HubClosedError,
    InstanceEndedError,
    InstanceNotFoundError,
    InvalidInputError,
    StoreCorruptError,
    StoreError,
)
from bide.http import auth, openapi, payloads
from bide.http.errors import answer_to, body_of
from bide.http.request import Receive, Request, Response, Scope, Send, read_body
from bide.http.urls import flag, number, time
from bide.model.entities import EntityId
from bide.model.instance import IdReusePolicy, OrchestrationRuntimeStatus

_COMPLETED = OrchestrationRuntimeStatus.COMPLETED
_FAILED = OrchestrationRuntimeStatus.FAILED
_DEFAULT_MAX_BODY_BYTES = (1 << 20) + 1024

Handler = Callable[["Api", Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """A method and a path below the base; `{name}` stands for one segment. `summary` is for OpenAPI."""

    method: str
    path: str
    handler: Handler
    summary: str
    parameters: tuple[str, ...] = ()

    @property
    def parts(self) -> list[str]:
        return self.path.casefold().split("/")


def create_app(
    client: Callable[[], Client],
    *,
    key: str | None = None,
    opens: auth.Opens | None = None,
    hub_name: str = "bide",
    max_body_bytes: int = _DEFAULT_MAX_BODY_BYTES,
) -> "Api":
    """Make the ASGI app of a hub. With `key`, every request but `/healthz` and `/openapi.json` needs it.

    `opens` says which keys do instead, where management URLs show one of several. `client` is asked anew at each
    request, so that the app can be mounted before the hub runs.
    """
    opens = opens or (auth.key_check(key) if key is not None else None)
    return Api(client, key=key, opens=opens, hub_name=hub_name, max_body_bytes=max_body_bytes)


class Api:
    """An ASGI app. It routes by itself, with the extension's rules: no framework cuts before it decodes."""

    def __init__(
        self,
        client: Callable[[], Client],
        *,
        key: str | None,
        opens: auth.Opens | None,
        hub_name: str,
        max_body_bytes: int,
    ) -> None:
        self._client = client
        self._key = key
        self._opens = opens
        self._hub_name = hub_name
        self._max_body_bytes = max_body_bytes
        self._long_polls: set[asyncio.Task[Any]] = set()
        self._is_stopping = False

    @property
    def client(self) -> Client:
        return self._client()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (await self._answer(scope, receive)).send(send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        try:
            request = Request.read(scope)
            if request.path in _OPEN:
                return await _OPEN[request.path](self)
            auth.check(request.method, request.headers, request.query, self._opens)
            route = _find(request)
            if route is None:
                return Response(404)
            if request.method == "POST":
                request.body = await read_body(receive, self._max_body_bytes)
            return await route.handler(self, request)
        except auth.ForbiddenError as error:
            return Response(403, body_of(str(error), type(error).__name__))
        except Exception as error:  # noqa: BLE001  (the border: whatever it is, the caller gets an answer)
            return Response(*answer_to(error))

    # Without a key

    async def healthz(self) -> Response:
        """Say whether the hub can read its store. Why it cannot is not said: everybody may ask."""
        try:
            await self.client.get_status_by(page_size=1, show_input=False)
        except (StoreError, HubClosedError):
            return Response(503, {"status": "unavailable"})
        return Response(200, {"status": "ok"})

    async def openapi(self) -> Response:
        return Response(200, openapi.document(ROUTES))

    # Instances

    async def start(self, request: Request) -> Response:
        query = request.query
        instance_id = await self.client.start_new(
            request.path_values["functionname"],
            request.path_values.get("instanceid"),
            request.json(),
            start_at=time(query, "startAt"),
            id_reuse=_reuse(query.get("idreuse")),
            version=query.get("version"),
            tags=_tags(query.get("tags")),
        )
        return await self._started(request, instance_id)

    async def _started(self, request: Request, instance_id: str) -> Response:
        """Answer with the management URLs, or in wait mode (`timeout` and `pollingInterval`) with the outcome."""
        timeout, interval = number(request.query, "timeout"), number(request.query, "pollingInterval")
        if timeout is not None and interval is not None:
            if interval > timeout:
                raise InvalidInputError("pollingInterval must not be greater than timeout")
            status = await self._wait(instance_id, min(timeout, LONGEST_WAIT_SECONDS))
            if status is not None:
                return _outcome(status, request)
        body = payloads.check_status(request.origin, instance_id, self._hub_name, self._key)
        return Response(202, body, {"location": body["statusQueryGetUri"], "retry-after": "10"})

    async def _wait(self, instance_id: str, seconds: float) -> OrchestrationStatus | None:
        """Wait for the end; None when it takes longer, or when this server is to stop."""
        if self._is_stopping:
            return None
        request = asyncio.current_task()
        assert request is not None
        self._long_polls.add(request)
        try:
            return await self.client.wait_for_completion(instance_id, timeout=seconds)
        except TimeoutError:
            return None
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            request.uncancel()
            return None
        finally:
            self._long_polls.discard(request)

    def stop_waiting(self) -> None:
        """Answer long polls with what is known now, from here on at once: the server is about to stop."""
        self._is_stopping = True
        for request in self._long_polls:
            request.cancel()

    async def get_one(self, request: Request) -> Response:
        query, instance_id = request.query, request.path_values["instanceid"]
        seconds = number(query, "waitForCompletion")
        show_input = flag(query, "showInput", default=True)
        show_history = flag(query, "showHistory", default=False)
        status = None
        if seconds is not None:
            status = await self._wait(instance_id, min(seconds, LONGEST_WAIT_SECONDS))
        if status is None or show_history:
            status = await self.client.get_status(instance_id, show_history=show_history, show_input=show_input)
        show_output = flag(query, "showHistoryOutput", default=False)
        try:
            body = payloads.status(status, show_output=show_output, show_input=show_input)
        except (ValueError, OverflowError) as error:  # what is in its history is not what was put there
            raise StoreCorruptError(f"The history of instance {instance_id!r} cannot be shown: {error}") from error
        if not status.runtime_status.is_ended:
            return Response(202, body, {"location": f"{request.origin}{request.path}", "retry-after": "5"})
        is_error = status.runtime_status is _FAILED and flag(query, "returnInternalServerErrorOnFailure", default=False)
        return Response(500 if is_error else 200, body)

    async def get_many(self, request: Request) -> Response:
        query = request.query
        page = await self.client.get_status_by(
            runtime_status=_statuses(query.get("runtimestatus")),
            created_time_from=time(query, "createdTimeFrom"),
            created_time_to=time(query, "createdTimeTo"),
            instance_id_prefix=query.get("instanceidprefix") or None,
            name=query.get("name") or None,
            waiting_for=query.get("waitingfor") or None,
            show_input=flag(query, "showInput", default=True),
            page_size=_page_size(request),
            continuation_token=_token(request),
        )
        return _page([payloads.listed(item) for item in page.items], page.continuation_token)

    async def raise_event(self, request: Request) -> Response:
        """Raise an event. The extension looks at the instance first, then at the body, and so do we."""
        instance_id, name = request.path_values["instanceid"], request.path_values["eventname"]
        try:
            if not request.is_json and (request.body or request.headers.get("content-length") != "0"):
                raise InvalidInputError("Only application/json request content is supported")  # noqa: TRY301
            data = request.json()
        except InvalidInputError:
            status = await self.client.get_status(instance_id, show_input=False)
            if status.runtime_status.is_ended:
                raise InstanceEndedError(instance_id, status.runtime_status.label) from None
            raise
        event_id = request.query.get("eventid") or request.headers.get(EVENT_ID_HEADER)
        receipt = await self.client.raise_event(instance_id, name, data, event_id=event_id)
        return Response(202, b"", {DUPLICATE_HEADER: "true"} if receipt.is_duplicate else {})

    async def terminate(self, request: Request) -> Response:
        recursive = flag(request.query, "recursive", default=False)
        await self.client.terminate(_id(request), request.query.get("reason"), recursive=recursive)
        return Response(202)

    async def suspend(self, request: Request) -> Response:
        await self.client.suspend(_id(request), request.query.get("reason"))
        return Response(202)

    async def resume(self, request: Request) -> Response:
        await self.client.resume(_id(request), request.query.get("reason"))
        return Response(202)

    async def rewind(self, request: Request) -> Response:
        await self.client.rewind(_id(request), request.query.get("reason"))
        return Response(202)

    async def restart(self, request: Request) -> Response:
        new_id = flag(request.query, "restartWithNewInstanceId", default=True)
        try:
            instance_id = await self.client.restart(_id(request), restart_with_new_instance_id=new_id)
        except InstanceNotFoundError as error:
            _, _, headers = answer_to(error)  # the extension answers 400 here, not 404
            return Response(400, body_of(str(error), type(error).__name__), headers)
        return await self._started(request, instance_id)

    async def purge_one(self, request: Request) -> Response:
        deleted = await self.client.purge(
            _id(request),
            force=flag(request.query, "force", default=False),
            recursive=flag(request.query, "recursive", default=False),
        )
        return Response(200, {"instancesDeleted": deleted})

    async def purge_many(self, request: Request) -> Response:
        query = request.query
        created_from = time(query, "createdTimeFrom")
        if created_from is None:
            raise InvalidInputError("createdTimeFrom is required, as a time such as 2026-01-31T00:00:00Z")
        deleted = await self.client.purge_by(
            created_time_from=created_from,
            created_time_to=time(query, "createdTimeTo") or datetime.now(UTC),
            runtime_status=_statuses(query.get("runtimestatus"), strict=True),
        )
        return Response(200, {"instancesDeleted": deleted}) if deleted else Response(404)

    # Entities

    async def signal_entity(self, request: Request) -> Response:
        """Signal the operation that `op` names, or `delete`. A body that is not JSON by its type is passed as a string."""
        operation = "delete" if request.method == "DELETE" else request.query.get("op", "")
        input_ = request.json() if request.is_json or not request.body else request.text()
        at = time(request.query, "scheduledTime")
        if at is None and request.query.get("scheduledtime"):
            raise InvalidInputError("scheduledTime must be a time such as 2026-01-31T00:00:00Z")
        await self.client.signal_entity(_entity_id(request), operation, input_, scheduled_time=at)
        return Response(202)

    async def get_entity(self, request: Request) -> Response:
        """Answer with the state alone, as the extension does; with `showDetails` with all that is known."""
        status = await self.client.get_entity(_entity_id(request))
        shows_details = flag(request.query, "showDetails", default=False)
        if status is None or (status.state is None and not shows_details):
            return Response(404)
        return Response(200, payloads.entity(status) if shows_details else msgspec.json.encode(status.state))

    async def get_entities(self, request: Request) -> Response:
        query = request.query
        page = await self.client.list_entities(
            request.path_values.get("entityname"),
            last_operation_from=time(query, "lastOperationTimeFrom"),
            last_operation_to=time(query, "lastOperationTimeTo"),
            fetch_state=flag(query, "fetchState", default=False),
            page_size=_page_size(request),
            continuation_token=_token(request),
        )
        return _page([payloads.entity(item) for item in page.items], page.continuation_token)

    # What bide adds

    async def history(self, request: Request) -> Response:
        return Response(200, [payloads.entry(entry) for entry in await self.client.get_history(_id(request))])

    async def waits(self, request: Request) -> Response:
        page = await self.client.waits(
            instance_id=request.path_values.get("instanceid"),
            name=request.query.get("name") or None,
            page_size=_page_size(request),
            continuation_token=_token(request),
        )
        return _page([payloads.wait(item) for item in page.items], page.continuation_token)

    async def dead_letters(self, request: Request) -> Response:
        page = await self.client.dead_letters(
            instance_id=request.query.get("instanceid") or None,
            page_size=_page_size(request),
            continuation_token=_token(request),
        )
        return _page([payloads.dead_letter(item) for item in page.items], page.continuation_token)

    async def send_queue_message(self, request: Request) -> Response:
        """Send the body, whatever its content type: a message is text, and JSON is text too."""
        delay = number(request.query, "delay")
        if delay is None and "delay" in request.query:
            raise InvalidInputError("delay must be a number of seconds, from 0 on")
        message_id = await self.client.send_queue_message(request.path_values["queuename"], request.text(), delay=delay)
        return Response(201, {"id": message_id})

    async def queues(self, _: Request) -> Response:
        return Response(200, payloads.queues(await self.client.queues()))

    async def nodes(self, _: Request) -> Response:
        return Response(200, payloads.cluster(await self.client.nodes()))

    async def peek_queue(self, request: Request) -> Response:
        messages = await self.client.peek_queue(request.path_values["queuename"], limit=_page_size(request))
        return Response(200, [payloads.queued_message(message) for message in messages])


_REASON = ("reason",)
_START = ("startAt", "version", "tags", "timeout", "pollingInterval", "returnInternalServerErrorOnFailure")
_SHOW = ("showInput", "showHistory", "showHistoryOutput", "returnInternalServerErrorOnFailure", "waitForCompletion")
_FILTER = ("runtimeStatus", "createdTimeFrom", "createdTimeTo")
_ENTITIES = ("lastOperationTimeFrom", "lastOperationTimeTo", "fetchState", "top")
_LIST = (*_FILTER, "instanceIdPrefix", "name", "waitingFor", "showInput", "top")

ROUTES = (
    Route("POST", "instances/{instanceId}/raiseEvent/{eventName}", Api.raise_event, "Raise an event", ("eventId",)),
    Route("POST", "orchestrators/{functionName}", Api.start, "Start an instance", _START),
    Route(
        "POST", "orchestrators/{functionName}/{instanceId}", Api.start, "Start one under an id", (*_START, "idReuse")
    ),
    Route("GET", "instances/{instanceId}", Api.get_one, "Status of an instance", _SHOW),
    Route("GET", "instances", Api.get_many, "List instances, newest first", _LIST),
    Route("POST", "instances/{instanceId}/terminate", Api.terminate, "End an instance now", ("reason", "recursive")),
    Route("POST", "instances/{instanceId}/suspend", Api.suspend, "Suspend an instance", _REASON),
    Route("POST", "instances/{instanceId}/resume", Api.resume, "Resume an instance", _REASON),
    Route("POST", "instances/{instanceId}/rewind", Api.rewind, "Take up a failed instance again", _REASON),
    Route("POST", "instances/{instanceId}/restart", Api.restart, "Start it again", ("restartWithNewInstanceId",)),
    Route("DELETE", "instances/{instanceId}", Api.purge_one, "Remove an instance", ("force", "recursive")),
    Route("DELETE", "instances", Api.purge_many, "Remove ended instances", _FILTER),
    Route("GET", "entities", Api.get_entities, "List entities, newest first", _ENTITIES),
    Route("GET", "entities/{entityName}", Api.get_entities, "List entities of one name", _ENTITIES),
    Route("GET", "entities/{entityName}/{entityKey}", Api.get_entity, "State of an entity", ("showDetails",)),
    Route("POST", "entities/{entityName}/{entityKey}", Api.signal_entity, "Signal an entity", ("op", "scheduledTime")),
    Route("DELETE", "entities/{entityName}/{entityKey}", Api.signal_entity, "Signal an entity's delete operation"),
    Route("GET", "instances/{instanceId}/history", Api.history, "All history events"),
    Route("GET", "instances/{instanceId}/waits", Api.waits, "What an instance waits for", ("name", "top")),
    Route("GET", "waits", Api.waits, "Open waits, oldest first", ("name", "top")),
    Route("GET", "deadLetters", Api.dead_letters, "Events that nobody consumed", ("instanceId", "top")),
    Route("GET", "nodes", Api.nodes, "The processes that serve the hub, what they own, and what waits"),
    Route("GET", "queues", Api.queues, "bide's own queues, and how many messages each holds"),
    Route(
        "POST", "queues/{queueName}/messages", Api.send_queue_message, "Send a message: the body, as text", ("delay",)
    ),
    Route("GET", "queues/{queueName}/messages", Api.peek_queue, "The next messages of a queue", ("top",)),
)
_OPEN: dict[str, Callable[[Api], Awaitable[Response]]] = {"/healthz": Api.healthz, "/openapi.json": Api.openapi}
_TABLE: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
for _route in ROUTES:
    _TABLE.setdefault((_route.method, len(_route.parts)), []).append((_route.parts, _route))


def _find(request: Request) -> Route | None:
    """Find the route; a wrong method is a 404 too, as in the extension."""
    parts = request.parts
    if parts is None:
        return None
    for pattern, route in _TABLE.get((request.method, len(parts)), ()):
        values = _match(pattern, parts)
        if values is not None:
            request.path_values = values
            return route
    return None


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    values: dict[str, str] = {}
    for word, part in zip(pattern, parts, strict=True):
        if word[0] == "{":
            values[word[1:-1]] = part
        elif word != part.casefold():
            return None
    return values


def _id(request: Request) -> str:
    return request.path_values["instanceid"]


def _entity_id(request: Request) -> EntityId:
    return EntityId(request.path_values["entityname"], request.path_values["entitykey"])


def _outcome(status: OrchestrationStatus, request: Request) -> Response:
    if status.runtime_status is _COMPLETED:
        return Response(200, msgspec.json.encode(status.output))
    is_error = status.runtime_status is _FAILED
    wants_500 = flag(request.query, "returnInternalServerErrorOnFailure", default=False)
    return Response(500 if is_error and wants_500 else 200, payloads.status(status))


def _page(items: list[Any], token: str | None) -> Response:
    return Response(200, items, {TOKEN_HEADER: token or ""})


def _page_size(request: Request) -> int:
    top = number(request.query, "top")
    return 100 if top is None else max(1, min(int(top), 1000))


def _token(request: Request) -> str | None:
    return request.headers.get(TOKEN_HEADER) or None


def _statuses(words: str | None, *, strict: bool = False) -> list[OrchestrationRuntimeStatus] | None:
    """Read a list of statuses. Unknown words are passed over, as in the extension; in a purge that would be dangerous."""
    found = []
    for word in (words or "").split(","):
        try:
            if word.strip():
                found.append(_read_status(word.strip()))
        except ValueError as error:
            if strict:
                raise InvalidInputError(str(error)) from error
    return found or None


def _read_status(word: str) -> OrchestrationRuntimeStatus:
    return OrchestrationRuntimeStatus(int(word)) if word.isdigit() else OrchestrationRuntimeStatus.from_label(word)


def _tags(text: str | None) -> dict[str, str] | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"tags must be a JSON object of strings: {error}") from error


def _reuse(word: str | None) -> IdReusePolicy:
    try:
        return IdReusePolicy(word or IdReusePolicy.REPLACE_ENDED)
    except ValueError:
        raise InvalidInputError(f"idReuse must be one of {', '.join(IdReusePolicy)}, not {word!r}") from None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
