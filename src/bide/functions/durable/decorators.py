"""The decorators of the SDK: `DFApp`, `Blueprint`, and what `func.FunctionApp` borrows from them.

`azure.functions` builds a binding's JSON from the parameter names of these classes' constructors.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from azure.functions import AuthLevel, FunctionRegister
from azure.functions.decorators.core import InputBinding, Trigger
from azure.functions.decorators.function_app import BindingApi, SettingsApi, TriggerApi

from bide.functions.durable.client import DurableOrchestrationClient, SyncDurableFunctionsClient
from bide.functions.durable.handles import Entity, Orchestrator


class OrchestrationTrigger(Trigger):
    def __init__(self, name: str, orchestration: str | None = None) -> None:
        self.orchestration = orchestration
        super().__init__(name=name)

    @staticmethod
    def get_binding_name() -> str:
        return "orchestrationTrigger"


class ActivityTrigger(Trigger):
    def __init__(self, name: str, activity: str | None = None) -> None:
        self.activity = activity
        super().__init__(name=name)

    @staticmethod
    def get_binding_name() -> str:
        return "activityTrigger"


class EntityTrigger(Trigger):
    def __init__(self, name: str, entity_name: str | None = None) -> None:
        self.entity_name = entity_name
        super().__init__(name=name)

    @staticmethod
    def get_binding_name() -> str:
        return "entityTrigger"


class DurableClient(InputBinding):
    def __init__(self, name: str, task_hub: str | None = None, connection_name: str | None = None) -> None:
        self.task_hub = task_hub
        self.connection_name = connection_name
        super().__init__(name=name)

    @staticmethod
    def get_binding_name() -> str:
        return "durableClient"


class Blueprint(TriggerApi, BindingApi, SettingsApi):
    """Functions to be registered with an app."""

    def __init__(self, http_auth_level: AuthLevel | str = AuthLevel.FUNCTION) -> None:
        super().__init__(auth_level=http_auth_level)  # type: ignore[no-untyped-call]

    def orchestration_trigger(
        self, context_name: str, orchestration: str | None = None, input_type: Any = None
    ) -> Callable[..., Any]:
        """Register an orchestrator; `context_name` is its parameter, `orchestration` its name if not the function's."""

        def change(builder: Any) -> Any:
            handle: Any = Orchestrator.create(builder._function._func)
            handle._df_input_type = input_type
            builder._function._func = handle
            builder.add_trigger(trigger=OrchestrationTrigger(name=context_name, orchestration=orchestration))
            return builder

        return self._changed(change)

    def activity_trigger(self, input_name: str, activity: str | None = None) -> Callable[..., Any]:
        """Register an activity; `input_name` is its parameter, `activity` its name if not the function's."""

        def change(builder: Any) -> Any:
            builder.add_trigger(trigger=ActivityTrigger(name=input_name, activity=activity))
            return builder

        return self._changed(change)

    def entity_trigger(self, context_name: str, entity_name: str | None = None) -> Callable[..., Any]:
        """Register an entity; `context_name` is its parameter, `entity_name` its name if not the function's."""

        def change(builder: Any) -> Any:
            builder._function._func = Entity.create(builder._function._func)
            builder.add_trigger(trigger=EntityTrigger(name=context_name, entity_name=entity_name))
            return builder

        return self._changed(change)

    def durable_client_input(
        self, client_name: str, task_hub: str | None = None, connection_name: str | None = None
    ) -> Callable[..., Any]:
        """Pass a client of the hub as the parameter `client_name`: awaitable in `async def`, blocking in `def`."""

        def change(builder: Any) -> Any:
            builder._function._func = _with_client(builder._function._func, client_name)
            binding = DurableClient(name=client_name, task_hub=task_hub, connection_name=connection_name)
            builder.add_binding(binding=binding)
            return builder

        return self._changed(change)

    def _changed(self, change: Callable[[Any], Any]) -> Callable[..., Any]:
        @self._configure_function_builder
        def configure(builder: Any) -> Any:
            return change(builder)

        return configure


class DFApp(Blueprint, FunctionRegister):
    """A Functions app with the durable decorators."""


def _with_client(function: Callable[..., Any], parameter: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            kwargs[parameter] = DurableOrchestrationClient(kwargs[parameter])
            return await function(*args, **kwargs)

        call_async.client_function = function  # type: ignore[attr-defined]
        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs[parameter] = SyncDurableFunctionsClient(kwargs[parameter])
        return function(*args, **kwargs)

    call.client_function = function  # type: ignore[attr-defined]
    return call
