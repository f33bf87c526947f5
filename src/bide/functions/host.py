"""`FunctionHost`: runs a loaded app beside a hub."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self

from bide.client.paths import HOSTED_RPC
from bide.errors import BideError, ConfigurationError
from bide.functions.durable.bridge import Bridge, binding_text, connect
from bide.functions.function import Binding, Function
from bide.functions.http_trigger import Routes
from bide.functions.indexing import Problem
from bide.functions.invocation import Invocation, TriggerValue
from bide.functions.keys import Keys
from bide.functions.loading import FunctionApp
from bide.functions.queue_trigger import bodies, message_value
from bide.functions.queues import Listener, ReceivedMessage, open_listener, open_sender
from bide.functions.settings import resolve
from bide.functions.timer_trigger import Timer
from bide.functions.user_code import UserCode
from bide.http.auth import Opens, key_check
from bide.hub import Hub
from bide.store.cluster import is_shared

_log = logging.getLogger("bide.functions")


_HOST = "127.0.0.1"
_EMULATOR = (_HOST, 10001)
"""Where `UseDevelopmentStorage=true` expects the queues of Azure's emulator."""


class FunctionHost:
    """A running app: `async with FunctionHost(loaded, hub, origin=…) as host, hub, host.triggers():`.

    `origin` is what management URLs begin with where no request tells. With `checks_keys` HTTP functions want the keys
    that their level says; without, as in Azure's local tools, everybody may call them. `key` protects the management API;
    with `checks_keys` and without a `key` the stored system key does.
    """

    def __init__(
        self, loaded: FunctionApp, hub: Hub, *, origin: str, key: str | None = None, checks_keys: bool = False
    ) -> None:
        self.loaded = loaded
        self.hub = hub
        self.routes = Routes(loaded.with_trigger("httptrigger"), loaded.settings.route_prefix)
        self.keys = Keys(hub.store) if checks_keys else None
        self.new_keys: dict[str, str] = {}
        self.problems: list[Problem] = [*loaded.problems, *self.routes.problems]
        self.key = key
        self.rpc_path = f"{HOSTED_RPC}/{secrets.token_urlsafe(16)}"
        """The management API for the app's own clients, who have no key: the path itself is the secret."""
        self._origin = origin
        self._code: UserCode | None = None
        self._listeners: list[asyncio.Task[None]] = []
        self._client_text: Callable[[], str] = str
        self._has_emulator = False
        self.listening: list[tuple[str, str, str]] = []
        """Kind, function, and what it listens to."""

    async def __aenter__(self) -> Self:
        """Make ready what user code needs: the hub may run activities from its first moment on, and until its last."""
        self._code = UserCode(self.loaded.threads)
        bridge = Bridge(
            lambda: self.hub.client,
            hub_name=self.hub.name,
            origin=self._origin,
            key=lambda: self.key,
            is_v1=self.loaded.app.is_v1,
            rpc_url=f"{self._origin}{self.rpc_path}/",
            replaces_any=self.loaded.settings.replaces_any,
        )
        connect(bridge)
        self._client_text = lambda: binding_text(bridge)
        app = self.loaded.app
        app.code, app.bridge, app.deliver, app.client_text = self._code, bridge, self.deliver, self._client_text
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connect(None)
        if self._code is not None:
            self._code.close()

    @property
    def opens_management(self) -> Opens | None:
        """What opens the management API: the key of its URLs, and with stored keys the master key; None: everybody here."""
        keys, key = self.keys, self.key
        if key is None:
            return None
        is_shown = key_check(key)
        return lambda given: is_shown(given) | (keys is not None and keys.opens(given, "admin", ""))

    @contextlib.asynccontextmanager
    async def triggers(self) -> AsyncIterator[None]:
        """Listen to timers and queues, while the hub runs."""
        if self.keys is not None:
            self.new_keys = await self.keys.open(route.function.name for route in self.routes.routes)
            self.key = self.key or self.keys.system
        self._has_emulator = await asyncio.to_thread(_answers, _EMULATOR)
        for function in self.loaded.functions:
            self._listen(function)
        try:
            yield
        finally:
            for listener in self._listeners:
                listener.cancel()
            await asyncio.gather(*self._listeners, return_exceptions=True)

    async def call(self, function: Function, value: TriggerValue) -> Invocation:
        """Call a function and deliver its outputs. Raises what it raises."""
        assert self._code is not None
        invocation = Invocation(function, value)
        await invocation.run(self._code, self._client_text())
        await self.deliver(invocation)
        return invocation

    async def deliver(self, invocation: Invocation) -> None:
        """Send what a call has set on its outputs; the answer of an HTTP function is not among them."""
        for binding, value in invocation.values():
            if binding.type == "queue":
                await self._send(invocation.function, binding, value)
            elif binding.type != "http":
                _log.warning(
                    "%s: a value for the output %r (%s) was dropped",
                    invocation.function.where,
                    binding.name,
                    binding.type,
                )

    # Triggers

    def _listen(self, function: Function) -> None:
        """Start listening for a function's trigger; what is wrong with it concerns no other function."""
        try:
            match function.trigger.type:
                case "timertrigger":
                    timer = Timer(function, self.hub.store, is_shared=is_shared(self.hub.store))
                    work, heard = self._run_timer(timer), timer.schedule.text
                case "queuetrigger":
                    work = self._run_queue(function, self._queue(function, function.trigger))
                    heard = self._address(function, function.trigger)[1]
                case _:
                    return
        except BideError as error:
            self.problems.append(Problem(function.where, str(error)))
        else:
            self.listening.append((function.trigger.type.removesuffix("trigger"), function.name, heard))
            listener = asyncio.create_task(work, name=f"bide-{function.name}")
            listener.add_done_callback(lambda task: _log_end(function, task))
            self._listeners.append(listener)

    async def _run_timer(self, timer: Timer) -> None:
        async def call(value: TriggerValue) -> None:
            try:
                await self.call(timer.function, value)
            except Exception:  # noqa: BLE001  (the border to user code)
                _log.exception("%s failed", timer.function.where)

        await timer.run(call)

    async def _run_queue(self, function: Function, listener: Listener) -> None:
        async def handle(message: ReceivedMessage) -> None:
            try:
                await self.call(function, message_value(message))
            except Exception:
                _log.exception("%s failed on a message, for the %d. time", function.where, message.dequeue_count)
                raise

        try:
            await listener.run(handle)
        except BideError as error:
            _log.error("%s: no messages any more: %s", function.where, error)

    def _queue(self, function: Function, binding: Binding) -> Listener:
        return open_listener(*self._address(function, binding), self.loaded.settings.queues, self.hub.store)

    def _address(self, function: Function, binding: Binding) -> tuple[str | None, str]:
        """Give connection and name of the queue that a binding names."""
        name = binding.get("queueName")
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"the binding {binding.name!r} has no queueName")
        name = resolve(name, function.where)
        setting = str(binding.get("connection") or "AzureWebJobsStorage")
        connection = os.environ.get(setting) or os.environ.get(f"AzureWebJobs{setting}")
        if connection is not None and _is_emulator(connection) and not self._has_emulator:
            note = f"{_HOST}:{_EMULATOR[1]} does not answer (Azurite): the queue {name!r} is bide's own"
            self._note(Problem(function.where, note))
            connection = None
        return connection, name

    def _note(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    async def _send(self, function: Function, binding: Binding, value: Any) -> None:
        sender = open_sender(*self._address(function, binding), self.loaded.settings.queues, self.hub.store)
        for body in bodies(value):
            await sender.send(body)


def _log_end(function: Function, task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("%s is not called any more", function.where, exc_info=task.exception())


def _is_emulator(connection: str) -> bool:
    return connection.replace(" ", "").casefold().startswith("usedevelopmentstorage=true")


def _answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=0.2).close()
    except OSError:
        return False
    return True
