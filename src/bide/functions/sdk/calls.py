"""The SDK's actions as tasks of bide's engine, and how they end as events of the SDK's history.

A call is found by the name of the action's class. What an action holds is JSON text already.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

import bide
from bide.core.tasks import Task
from bide.errors import TaskFailedError
from bide.functions.durable import http
from bide.functions.durable.payload import text_of
from bide.functions.sdk.events import Kind

Ending = tuple[Kind, dict[str, Any]]
"""An event to be: its kind, and its fields beside the id of the task."""


class Call:
    """One action."""

    completed = Kind.TASK_COMPLETED
    failed = Kind.TASK_FAILED

    def __init__(self, action: Any) -> None:
        self.action = action

    def begin(self, engine: bide.OrchestrationContext) -> Task[Any]:
        """Ask the engine for it. Raises what the engine, or `call_http`, refuses it with."""
        raise NotImplementedError

    def ending(self, value: Any, error: BaseException | None) -> Ending:
        """Describe how it ended."""
        if error is None:
            return self.completed, {"Result": text_of(value)}
        details = error.stack_trace if isinstance(error, TaskFailedError) else None
        return self.failed, {"Reason": self.reason(error), "Details": details or ""}

    def reason(self, error: BaseException) -> str:
        return message(error)


class Activity(Call):
    def begin(self, engine: bide.OrchestrationContext) -> Task[Any]:
        return engine.call_activity(self.action.function_name, payload(self.action.input_), type=msgspec.Raw)

    def reason(self, error: BaseException) -> str:
        if not isinstance(error, TaskFailedError):
            return str(error)
        kind = error.error_type.rpartition(".")[2]
        return f"Activity function '{self.action.function_name}' failed:  {kind}: {error.message}"


class SubOrchestration(Call):
    completed = Kind.CHILD_COMPLETED
    failed = Kind.CHILD_FAILED

    def begin(self, engine: bide.OrchestrationContext) -> Task[Any]:
        action = self.action
        return engine.call_sub_orchestrator(
            action.function_name, input_payload(action._input), action.instance_id, action.version, type=msgspec.Raw
        )


class Timer(Call):
    completed = Kind.TIMER_FIRED

    def begin(self, engine: bide.OrchestrationContext) -> Task[Any]:
        return engine.create_timer(self.action.fire_at)


class Pause(Timer):
    """The time between two attempts; its action is the retry options."""

    def begin(self, engine: bide.OrchestrationContext) -> Task[Any]:
        return engine.create_timer(timedelta(milliseconds=self.action.first_retry_interval_in_milliseconds))


class Http(Call):
    def begin(self, engine: bide.OrchestrationContext) -> Task[Any]:
        request = self.action.http_request
        described = http.request(
            request.method,
            request.uri,
            request.content,
            request.headers,
            request.token_source,
            is_raw_str=request.content is not None,  # the SDK has written it as JSON
        )
        return engine.call_sub_orchestrator(http.ORCHESTRATOR, described, type=msgspec.Raw)


class EntityCall(Call):
    def begin(self, engine: bide.OrchestrationContext) -> Task[Any]:
        action = self.action
        return engine.call_entity(action.instance_id, action.operation, input_payload(action.input_), type=msgspec.Raw)

    def ending(self, value: Any, error: BaseException | None) -> Ending:
        """Wrap it as the extension does: the SDK takes a failure, too, from the message."""
        answer = {"result": text_of(value) or "null"}
        if error is not None:
            answer = {"result": json.dumps(message(error)), "exceptionType": type(error).__name__}
        return self.completed, {"Result": json.dumps(answer)}


class Done(Call):
    """What needs no engine, and is done when it is begun."""


class SentSignal(Done):
    """A signal, which was sent when it was asked for: an app may yield it all the same."""


class LastPause(Done):
    """The SDK raises the error of a last attempt only after another pause; nobody need wait for it."""

    completed = Kind.TIMER_FIRED


_CALLS: dict[str, Callable[[Any], Call]] = {
    "CallActivityAction": Activity,
    "CallActivityWithRetryAction": Activity,
    "CallSubOrchestratorAction": SubOrchestration,
    "CallSubOrchestratorWithRetryAction": SubOrchestration,
    "CreateTimerAction": Timer,
    "CallHttpAction": Http,
    "CallEntityAction": EntityCall,
    "SignalEntityAction": SentSignal,
}


def call_of(task: Any) -> Call:
    """Return the call behind an open task of the SDK. Raises `NotImplementedError` for an action that we do not know."""
    action = task.action_repr
    kind = type(action).__name__
    if kind == "NoOpAction":  # a retry follows its attempts with such tasks: a pause, an attempt, a pause …
        retry = task.parent
        if retry.is_waiting_on_timer:
            options = retry.retry_options
            return Pause(options) if retry.num_attempts < options.max_number_of_attempts else LastPause(options)
        action, kind = retry.actions, type(retry.actions).__name__
    if kind not in _CALLS:
        raise NotImplementedError(f"bide does not know the SDK's {kind}.")
    return _CALLS[kind](action)


def message(error: BaseException) -> str:
    return error.message if isinstance(error, TaskFailedError) else str(error)


def payload(text: str) -> msgspec.Raw | None:
    """Hand JSON text to the engine as it is."""
    return None if text == "null" else msgspec.Raw(text.encode())


def input_payload(text: str) -> msgspec.Raw | None:
    """Do the same for an input: text gets the second layer of JSON that `input_text` takes off again."""
    return payload(json.dumps(text) if text.startswith('"') else text)


def input_text(text: str | None) -> str | None:
    """Return an input as the JSON text that the SDK reads, without the layer that its client adds."""
    if text is None or not text.startswith('"'):
        return text
    inner: str = json.loads(text)
    try:
        json.loads(inner)
    except ValueError:
        return text  # it came by the HTTP API, which adds none
    return inner
