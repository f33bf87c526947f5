"""The hub as its clients see it: served somewhere, or nowhere at the moment."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import bide
from bench.torture.journal import Deed, Journal, Outcome
from bide import HubBusyError, HubClosedError, HubUnreachableError, StoreUnavailableError

T = TypeVar("T")
Request = Callable[[bide.Client], Awaitable[T]]

_PAUSE_SECONDS = 0.02
_LOST = (HubUnreachableError, HubClosedError, StoreUnavailableError)
"""The request may have been carried out: a client that wants to know asks again."""


class Connection:
    """Clients of all hubs that serve the store: one, or those of a cluster."""

    def __init__(self, journal: Journal, rng: random.Random, timeout: float = 30.0) -> None:
        """`timeout` is how many seconds a client waits for an answer before it asks somebody else."""
        self._timeout = timeout
        self._journal = journal
        self._rng = rng
        self._clients: dict[str, bide.Client] = {}
        self._is_up = asyncio.Event()

    def up(self, url: str) -> None:
        self._clients[url] = bide.connect(url, timeout=self._timeout)
        self._is_up.set()

    async def down(self, url: str) -> None:
        client = self._clients.pop(url)
        if not self._clients:
            self._is_up.clear()
        await client.aclose()

    async def client(self) -> bide.Client:
        """Any client, as soon as there is one."""
        while not self._clients:
            await self._is_up.wait()
        return self._rng.choice(list(self._clients.values()))

    async def ask(self, request: Request[T]) -> T:
        """Ask until there is an answer; for what changes nothing."""
        while True:
            client = await self.client()
            try:
                return await request(client)
            except (*_LOST, HubBusyError):
                await asyncio.sleep(_PAUSE_SECONDS)

    async def do(
        self,
        deed: Deed,
        request: Request[T],
        *,
        once: bool = False,
        done_by: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> None:
        """Carry out a deed: until it is answered, or `once`.

        `done_by` are the errors by which one that is sent again learns that it has happened already.
        """
        self._journal.ask(deed)
        while True:
            client = await self.client()
            deed.tries += 1
            try:
                answer = await request(client)
            except HubBusyError:
                deed.tries -= 1  # nothing was done
            except _LOST:
                if once:
                    return self._journal.settle(deed, Outcome.LOST)
            except bide.BideError as error:
                is_done = isinstance(error, done_by) and deed.tries > 1
                outcome = Outcome.ACCEPTED if is_done else Outcome.REFUSED
                return self._journal.settle(deed, outcome, type(error).__name__)
            else:
                return self._journal.settle(deed, Outcome.ACCEPTED, answer)
            await asyncio.sleep(_PAUSE_SECONDS)
