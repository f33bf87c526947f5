"""How user code in a Functions app reaches the hub.

User functions run on threads, or on an event loop of their own: one that blocks must not stop the hub's loop. What
they ask of the hub crosses over to that loop here.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bide.client.base import Client
from bide.client.paths import BASE
from bide.errors import HubClosedError
from bide.http import payloads
from bide.model.instance import IdReusePolicy

T = TypeVar("T")


class Bridge:
    """The running host, for the code it runs. `key` protects the management URLs, None when nothing does."""

    def __init__(
        self,
        client: Callable[[], Client],
        *,
        hub_name: str,
        origin: str,
        key: Callable[[], str | None],
        is_v1: bool,
        rpc_url: str = "",
        replaces_any: bool = False,
    ) -> None:
        """`client` and `key` are asked when they are needed. `rpc_url` is where clients of SDK 1.x reach the management
        API without a key; `replaces_any`: a start replaces whatever has its id.
        """
        self.id_reuse = IdReusePolicy.REPLACE_ANY if replaces_any else IdReusePolicy.REPLACE_ENDED
        self._client = client
        self.rpc_url = rpc_url
        self.hub_name = hub_name
        self.origin = origin
        self._key = key
        self.is_v1 = is_v1
        self._loop = asyncio.get_running_loop()

    @property
    def client(self) -> Client:
        """The hub's client. Raises `HubClosedError` while the hub does not run."""
        return self._client()

    @property
    def key(self) -> str | None:
        return self._key()

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the hub's loop, from whatever loop."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def call_and_wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the hub's loop, from a thread that may block."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def binding_text(bridge: Bridge) -> str:
    """Make the text of a `durableClient` binding, as the extension gives it to SDK 1.x.

    Our own client needs none of it; code that reads it, and the released client, do. Source: `DurableOrchestrationBindings`
    of azure-functions-durable.
    """
    management = payloads.check_status(bridge.origin, "INSTANCEID", bridge.hub_name, bridge.key)
    code = f"code={bridge.key}" if bridge.key else ""
    base = f"{bridge.origin}{BASE}"
    start = f"{base}/orchestrators/{{functionName}}[/{{instanceId}}]?"
    wait = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}"
    return json.dumps(
        {
            "taskHubName": bridge.hub_name,
            "creationUrls": {
                "createNewInstancePostUri": f"{start}{code}",
                "createAndWaitOnNewInstancePostUri": f"{start}{wait}&{code}",
            },
            "managementUrls": management,
            "baseUrl": base,
            "requiredQueryStringParameters": code,
            "rpcBaseUrl": bridge.rpc_url or f"{base}/",
        }
    )


_current: Bridge | None = None


def connect(bridge: Bridge | None) -> None:
    """Make `bridge` the one that clients made from now on use; one app runs in a process."""
    global _current  # noqa: PLW0603  (Azure's client is made from a string, which cannot carry an object)
    _current = bridge


def current() -> Bridge:
    """Give the running host. Raises `HubClosedError` when there is none."""
    if _current is None:
        raise HubClosedError("A durable client works only while bide runs the app (bide serve).")
    return _current
