"""`call_http`: a request that an orchestrator sends, and polls while the answer is 202.

It is a sub-orchestration of its own: an activity sends one request, a durable timer waits between two.
"""

import json
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

import bide
from bide.errors import TaskFailedError as EngineTaskFailedError
from bide.functions.durable.tasks import FailureDetails, TaskBase, TaskFailedError

ACTIVITY = "BuiltIn__HttpActivity"
ORCHESTRATOR = "BuiltIn__HttpPollOrchestrator"
_ACCEPTED = 202
_TIMEOUT = 100.0
"""Seconds for one request, as .NET's HttpClient has it."""


class ManagedIdentityTokenSource:
    """Asks for a token of an Azure managed identity. There is none outside of Azure: `call_http` refuses it."""

    def __init__(self, resource: str) -> None:
        if not resource:
            raise ValueError("Resource cannot be empty.")
        self.resource = resource

    def to_json(self) -> dict[str, Any]:
        return {"resource": self.resource, "kind": "AzureManagedIdentity"}


class DurableHttpResponse(dict[str, Any]):
    """The answer: a dict with `statusCode`, `headers`, `content` (SDK 1.x) that has attributes too (2.x)."""

    @property
    def status_code(self) -> int:
        return int(self["statusCode"])

    @property
    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = self["headers"]
        return headers

    @property
    def content(self) -> str:
        return str(self["content"])


class HttpTask(TaskBase):
    def _value(self, value: Any) -> Any:
        return DurableHttpResponse(value)

    def _error(self, error: BaseException) -> BaseException:
        if not isinstance(error, EngineTaskFailedError):
            return error
        return TaskFailedError(error.message, FailureDetails(error.message, error.error_type, error.stack_trace))


def request(
    method: str, uri: str, content: Any, headers: dict[str, str] | None, token_source: Any, *, is_raw_str: bool
) -> dict[str, Any]:
    """Describe a request. Raises `NotImplementedError` when it needs a managed identity."""
    if token_source is not None:
        raise NotImplementedError(
            "call_http cannot get a token of a managed identity outside of Azure: "
            "get one in an activity, and pass it in the headers."
        )
    if is_raw_str and not isinstance(content, str):
        raise TypeError("With is_raw_str the content must be a string.")
    body = content if content is None or is_raw_str else json.dumps(content)
    return {"method": method, "uri": uri, "content": body, "headers": headers or {}}


def register(app: bide.Blueprint, default_pause: timedelta) -> None:
    """Add the orchestrator and the activity behind `call_http`; `default_pause` is for answers without Retry-After."""

    @app.activity(name=ACTIVITY)
    async def send(call: dict[str, Any]) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=True) as client:
            headers = httpx.Headers({"content-type": "application/json"} if call["content"] is not None else {})
            headers.update(call["headers"])
            answer = await client.request(call["method"], call["uri"], content=call["content"], headers=headers)
        named = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers.raw}
        return {"statusCode": answer.status_code, "headers": named, "content": answer.text}

    @app.orchestrator(name=ORCHESTRATOR)
    def poll(context: bide.OrchestrationContext) -> Any:
        call = context.get_input()
        while True:
            answer = yield context.call_activity(ACTIVITY, call)
            headers = {name.casefold(): value for name, value in answer["headers"].items()}
            if answer["statusCode"] != _ACCEPTED or "location" not in headers:
                return answer
            yield context.create_timer(_pause(context, headers.get("retry-after"), default_pause))
            location = urljoin(call["uri"], headers["location"])
            headers = headers_for(location, call["uri"], call["headers"])
            call = {"method": "GET", "uri": location, "content": None, "headers": headers}


def headers_for(location: str, asked: str, headers: dict[str, str]) -> dict[str, str]:
    """Leave out of a request's headers what is no business of the place that its answer points to.

    A function's key never is, as in the extension; credentials are only at the origin that they were meant for.
    """
    dropped = {"x-functions-key"}
    if _origin(location) != _origin(asked):
        dropped |= {"authorization", "cookie"}
    return {name: value for name, value in headers.items() if name.casefold() not in dropped}


def _origin(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc


def _pause(context: bide.OrchestrationContext, retry_after: str | None, default: timedelta) -> timedelta:
    """Read Retry-After: seconds, or a date."""
    try:
        if retry_after is None:
            return default
        if retry_after.strip().isdigit():
            return timedelta(seconds=int(retry_after))
        return max(parsedate_to_datetime(retry_after) - context.current_utc_datetime, timedelta(0))
    except (ValueError, TypeError, OverflowError):
        return default
