"""`DurableOrchestrationClient`: what functions start, raise and ask with; the names of SDK 1.x and of 2.x."""

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func

from bide.client.base import OrchestrationStatus
from bide.errors import InstanceEndedError, InstanceNotFoundError, InstanceStateError
from bide.functions.durable import bridge
from bide.functions.durable.context import name_of
from bide.functions.durable.entity_id import EntityId
from bide.functions.durable.payload import dumps, raw, raw_input
from bide.functions.durable.status import (
    DurableOrchestrationStatus,
    EntityStateResponse,
    OrchestrationRuntimeStatus,
    PurgeHistoryResult,
)
from bide.http import payloads
from bide.model.instance import OrchestrationRuntimeStatus as RuntimeStatus

_FIRST_DAY = datetime(1970, 1, 1)  # noqa: DTZ001  (only compared as "no limit")


class DurableOrchestrationClient:
    """A client of the hub that runs this app. Made from the text of a `durableClient` binding.

    With 1.x rules inputs and events get the second layer of JSON that SDK 1.x gives them.
    """

    def __init__(self, context: str = "", function_invocation_id: str | None = None) -> None:
        del context, function_invocation_id  # they name the hub that runs this app: there is one
        self._bridge = bridge.current()

    @property
    def task_hub_name(self) -> str:
        return self._bridge.hub_name

    # Start

    async def start_new(
        self,
        orchestration_function_name: Any,
        instance_id: str | None = None,
        client_input: Any = None,
        version: str | None = None,
    ) -> str:
        return await self._start(name_of(orchestration_function_name), instance_id, client_input, version=version)

    async def schedule_new_orchestration(
        self,
        orchestrator: Any,
        *,
        input: Any = None,  # noqa: A002  (the SDK's name)
        instance_id: str | None = None,
        start_at: datetime | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        **_: Any,
    ) -> str:
        return await self._start(
            name_of(orchestrator), instance_id, input, version=version, start_at=start_at, tags=tags
        )

    async def _start(self, name: str, instance_id: str | None, value: Any, **options: Any) -> str:
        client = self._bridge.client
        reuse = self._bridge.id_reuse
        return await self._bridge.call(
            client.start_new(name, instance_id or None, self._encoded(value), id_reuse=reuse, **options)
        )

    def _encoded(self, value: Any) -> Any:
        return raw(dumps(value)) if self._bridge.is_v1 and value is not None else raw(value)

    # Events and the rest of an instance's life

    async def raise_event(
        self,
        instance_id: str,
        event_name: str,
        event_data: Any = None,
        task_hub_name: str | None = None,
        connection_name: str | None = None,
    ) -> None:
        del task_hub_name, connection_name
        if not event_name:
            raise ValueError("event_name must be a non-empty string.")
        data = raw(dumps(event_data)) if self._bridge.is_v1 else raw(event_data)
        try:
            await self._bridge.call(_done(self._bridge.client.raise_event(instance_id, event_name, data)))
        except InstanceNotFoundError as error:
            raise Exception(f"No instance with ID {instance_id} found.") from error  # noqa: TRY002  (as the SDK does)
        except InstanceEndedError as error:
            raise Exception(  # noqa: TRY002
                f"Instance with ID {instance_id} is gone: either completed or failed"
            ) from error

    async def raise_orchestration_event(self, instance_id: str, event_name: str, *, data: Any = None) -> None:
        await self.raise_event(instance_id, event_name, data)

    async def terminate(self, instance_id: str, reason: str = "") -> None:
        await self._operate(instance_id, self._bridge.client.terminate(instance_id, reason or None))

    async def terminate_orchestration(self, instance_id: str, *, output: Any = None, recursive: bool = True) -> None:
        reason = output if isinstance(output, str) or output is None else dumps(output)
        await self._operate(instance_id, self._bridge.client.terminate(instance_id, reason, recursive=recursive))

    async def suspend(self, instance_id: str, reason: str = "") -> None:
        await self._operate(instance_id, self._bridge.client.suspend(instance_id, reason or None))

    async def resume(self, instance_id: str, reason: str = "") -> None:
        await self._operate(instance_id, self._bridge.client.resume(instance_id, reason or None))

    async def rewind(
        self, instance_id: str, reason: str = "", task_hub_name: str | None = None, connection_name: str | None = None
    ) -> None:
        del task_hub_name, connection_name
        try:
            await self._operate(instance_id, self._bridge.client.rewind(instance_id, reason or None))
        except InstanceStateError as error:
            raise Exception(  # noqa: TRY002
                f"The rewind operation is only supported on failed orchestration instances: {error}"
            ) from error

    async def _operate(self, instance_id: str, work: Any) -> None:
        """Do something to an instance; one that has ended already is left as it is, without an error."""
        try:
            await self._bridge.call(work)
        except InstanceNotFoundError as error:
            raise Exception(f"No instance with ID '{instance_id}' found.") from error  # noqa: TRY002
        except InstanceEndedError:
            pass

    async def restart(self, instance_id: str, restart_with_new_instance_id: bool = True) -> str:  # noqa: FBT001, FBT002
        client = self._bridge.client
        return await self._bridge.call(
            client.restart(instance_id, restart_with_new_instance_id=restart_with_new_instance_id)
        )

    async def purge_instance_history(self, instance_id: str, *_: Any, **__: Any) -> PurgeHistoryResult:
        try:
            return PurgeHistoryResult(await self._bridge.call(self._bridge.client.purge(instance_id)))
        except InstanceNotFoundError:
            return PurgeHistoryResult(0)

    async def purge_instance_history_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Iterable[Any] | None = None,
    ) -> PurgeHistoryResult:
        removed = await self._bridge.call(
            self._bridge.client.purge_by(
                created_time_from=created_time_from or _FIRST_DAY,
                created_time_to=created_time_to,
                runtime_status=_statuses(runtime_status),
            )
        )
        return PurgeHistoryResult(removed)

    # Ask

    async def get_status(
        self,
        instance_id: str,
        show_history: bool = False,  # noqa: FBT001, FBT002  (the SDK's signature)
        show_history_output: bool = False,  # noqa: FBT001, FBT002
        show_input: bool = True,  # noqa: FBT001, FBT002
    ) -> Any:
        try:
            status = await self._bridge.call(
                self._bridge.client.get_status(instance_id, show_history=show_history, show_input=show_input)
            )
        except InstanceNotFoundError:
            return DurableOrchestrationStatus()
        return DurableOrchestrationStatus.of(status, show_output=show_history_output, show_input=show_input)

    async def get_orchestration_state(self, instance_id: str, *, fetch_payloads: bool = True) -> Any:
        status = await self.get_status(instance_id, show_input=fetch_payloads)
        return status or None

    async def get_status_all(self) -> list[Any]:
        return await self.get_status_by()

    async def get_status_by(
        self,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Iterable[Any] | None = None,
        instance_id_prefix: str | None = None,
    ) -> list[Any]:
        """List the instances that match; all of them, not just the first page as SDK 1.x does."""
        found: list[OrchestrationStatus] = []
        token = None
        while True:
            page = await self._bridge.call(
                self._bridge.client.get_status_by(
                    created_time_from=created_time_from,
                    created_time_to=created_time_to,
                    runtime_status=_statuses(runtime_status),
                    instance_id_prefix=instance_id_prefix,
                    page_size=1000,
                    continuation_token=token,
                )
            )
            found.extend(page.items)
            token = page.continuation_token
            if token is None:
                return [DurableOrchestrationStatus.of(status) for status in found]

    get_all_orchestration_states = get_status_by

    async def wait_for_orchestration_completion(
        self, instance_id: str, *, fetch_payloads: bool = True, timeout: float = 60
    ) -> Any:
        """Wait until the instance has ended. Raises `TimeoutError` (`timeout` in seconds)."""
        work = self._bridge.client.wait_for_completion(instance_id, timeout=timeout)
        return DurableOrchestrationStatus.of(await self._bridge.call(work), show_input=fetch_payloads)

    # Entities

    async def signal_entity(
        self,
        entityId: EntityId,  # noqa: N803  (the SDK's name)
        operation_name: str,
        operation_input: Any = None,
        task_hub_name: str | None = None,
        connection_name: str | None = None,
        *,
        input: Any = None,  # noqa: A002
    ) -> None:
        del task_hub_name, connection_name
        value = input if operation_input is None else operation_input
        text = raw_input(value, is_v1=self._bridge.is_v1)
        await self._bridge.call(self._bridge.client.signal_entity(str(entityId), operation_name, text))

    async def read_entity_state(
        self,
        entityId: EntityId,  # noqa: N803
        task_hub_name: str | None = None,
        connection_name: str | None = None,
    ) -> EntityStateResponse:
        del task_hub_name, connection_name
        entity = await self._bridge.call(self._bridge.client.get_entity(str(entityId)))
        state = None if entity is None else entity.state
        return EntityStateResponse(state is not None, state)

    # URLs

    def create_http_management_payload(self, request: Any, instance_id: str | None = None) -> dict[str, str]:
        """Give the management URLs of an instance: `(instance_id)` in SDK 1.x, `(request, instance_id)` in 2.x."""
        if instance_id is None:
            return self._urls(None, request)
        return self._urls(request, instance_id)

    def get_client_response_links(self, request: Any, instance_id: str) -> dict[str, str]:
        return self._urls(request, instance_id)

    def _urls(self, request: Any, instance_id: str) -> dict[str, str]:
        origin = self._bridge.origin
        if request is not None:
            parts = urlsplit(request.url)
            origin = f"{parts.scheme}://{parts.netloc}"
        return payloads.check_status(origin, instance_id, self._bridge.hub_name, self._bridge.key)

    def create_check_status_response(
        self,
        request: func.HttpRequest,
        instance_id: str,
        *,
        return_internal_server_error_on_failure: bool = False,
    ) -> func.HttpResponse:
        """Make the 202 answer that says where to ask for the status."""
        urls = self._urls(request, instance_id)
        if return_internal_server_error_on_failure:
            urls["statusQueryGetUri"] += "&returnInternalServerErrorOnFailure=true"
        headers = {"Content-Type": "application/json", "Location": urls["statusQueryGetUri"], "Retry-After": "10"}
        return func.HttpResponse(json.dumps(urls), status_code=202, headers=headers, mimetype="application/json")

    async def wait_for_completion_or_create_check_status_response(
        self,
        request: func.HttpRequest,
        instance_id: str,
        timeout_in_milliseconds: int = 10000,
        retry_interval_in_milliseconds: int = 1000,
        *,
        return_internal_server_error_on_failure: bool | None = None,
    ) -> func.HttpResponse:
        """Wait for the end, no longer than the timeout; the answer comes at once when it ends, not at the next interval.

        Completed: 200 with the output. Failed: the status, with 500 (SDK 1.x) or 200 (2.x). Terminated: 200 with the
        status. Otherwise as `create_check_status_response`.
        """
        if retry_interval_in_milliseconds > timeout_in_milliseconds:
            raise Exception(  # noqa: TRY002  (as the SDK does)
                f"Total timeout {timeout_in_milliseconds} (ms) should be bigger than "
                f"retry timeout {retry_interval_in_milliseconds} (ms)"
            )
        span = timedelta(milliseconds=timeout_in_milliseconds)
        try:
            status = await self._bridge.call(self._bridge.client.wait_for_completion(instance_id, timeout=span))
        except TimeoutError:
            return self.create_check_status_response(request, instance_id)
        if status.runtime_status is RuntimeStatus.COMPLETED:
            return _json_response(status.output, 200)
        answers_500 = (
            self._bridge.is_v1
            if return_internal_server_error_on_failure is None
            else return_internal_server_error_on_failure
        )
        code = 500 if status.runtime_status is RuntimeStatus.FAILED and answers_500 else 200
        return _json_response(DurableOrchestrationStatus.of(status).to_json(), code)

    # The rest of the names of SDK 2.x

    suspend_orchestration = suspend
    resume_orchestration = resume
    rewind_orchestration = rewind
    restart_orchestration = restart
    purge_orchestration = purge_instance_history
    purge_orchestrations_by = purge_instance_history_by
    get_entity = read_entity_state


class SyncDurableFunctionsClient:
    """The same without `await`, for functions that are not `async def`."""

    def __init__(self, context: str = "", function_invocation_id: str | None = None) -> None:
        self._client = DurableOrchestrationClient(context, function_invocation_id)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._client, name)
        if not inspect.iscoroutinefunction(member):
            return member
        return _blocking(member)


def _blocking(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return bridge.current().call_and_wait(method(*args, **kwargs))

    return call


async def _done(work: Any) -> None:
    await work


def _statuses(values: Iterable[Any] | None) -> list[RuntimeStatus] | None:
    if not values:
        return None
    return [RuntimeStatus.from_label(v.value if isinstance(v, OrchestrationRuntimeStatus) else str(v)) for v in values]


def _json_response(value: Any, status_code: int) -> func.HttpResponse:
    text = value if isinstance(value, str) else json.dumps(value)  # text as it is: the SDK does not quote it
    return func.HttpResponse(text, status_code=status_code, mimetype="application/json")
