"""Where a command goes: to a hub that is served, or straight to a store."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bide.app import App
from bide.cli.loading import load_app
from bide.client.base import Client
from bide.errors import ConfigurationError
from bide.model.nodes import NodeRole
from bide.store import open_store
from bide.store.cluster import is_shared

if TYPE_CHECKING:
    from bide.hub import Hub

_MOMENT = 1.0
"""Seconds."""
DEFAULT_URL = "http://127.0.0.1:7071"


@Parameter(name="*")
@dataclass(kw_only=True)
class Target:
    """Options that every command about instances has."""

    url: Annotated[
        str | None, Parameter(env_var="BIDE_URL", help="Address of a served hub [http://127.0.0.1:7071].")
    ] = None
    key: Annotated[str | None, Parameter(env_var="BIDE_KEY", help="Key of that hub.")] = None
    store: Annotated[str | None, Parameter(help="Work on this store instead, as sqlite:///file.db.")] = None
    app: Annotated[str | None, Parameter(help="With --store: the app whose orchestrators may run, as app.py.")] = None
    json: Annotated[bool, Parameter(negative="", help="Write one JSON document to standard output.")] = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Client]:
        """Open a client for the length of one command."""
        if self.store is not None and self.url not in {None, os.environ.get("BIDE_URL")}:
            raise ConfigurationError(
                "Say either --url (a served hub) or --store (a file that nobody serves), not both."
            )
        if self.store is None:
            from bide.client.http import connect  # noqa: PLC0415  (httpx only where it is used)

            async with connect(self.url or DEFAULT_URL, key=self.key) as client:
                yield client
        else:
            from bide.hub import Hub  # noqa: PLC0415

            app = load_app(self.app) if self.app is not None else App()
            store = open_store(self.store, creates=self.app is not None)
            role = NodeRole.CLIENT if is_shared(store) and self.app is None else NodeRole.ALL
            async with Hub(app, store, role=role) as hub:
                yield hub.client
                await _settle(hub)


async def _settle(hub: "Hub") -> None:
    """Give what the command has set going a moment to come to its end; else it goes on with the next command."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_MOMENT):
            while not hub.is_idle:  # noqa: ASYNC110  (nobody tells when it is)
                await asyncio.sleep(0.005)


def default_store() -> str:
    """Return the store of `bide serve` when none is named."""
    return os.environ.get("BIDE_STORE", "sqlite:///bide.db")
