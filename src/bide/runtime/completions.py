"""Who waits for which instance to end."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from bide.errors import HubClosedError, InstanceNotFoundError
from bide.model.clock import SECOND
from bide.model.instance import InstanceRow

PATIENCE = 20 * SECOND
"""How long a node waits for another's answer. Then it asks again, if it still wants to know when an instance has ended."""


class Ended(msgspec.Struct, frozen=True):
    """The last state of an instance: its row, its input as JSON text, and when it ended."""

    row: InstanceRow
    input: str | None
    at: int


class LookAgain(Exception):  # noqa: N818  (no error: it never leaves the runtime)
    """The instance that was there when somebody began to wait may be there no more."""


Address = tuple[int, int]
"""A node, and its number for the request."""


class Completions:
    """Those who wait are told the last state from memory, when it is durable; no query is made."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[Ended]]] = {}
        self._followers: dict[str, set[Address]] = {}
        self._followed: deque[tuple[int, str, Address]] = deque()

    def register(self, instance_id: str) -> "asyncio.Future[Ended]":
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(instance_id, []).append(future)
        return future

    def forget(self, instance_id: str, future: "asyncio.Future[Ended]") -> None:
        if future.done() and not future.cancelled():
            future.exception()  # seen: whoever waited may have failed before it came
        waiting = self._waiting.get(instance_id, [])
        if future in waiting:
            waiting.remove(future)
        if not waiting:
            self._waiting.pop(instance_id, None)

    def ended(self, last: Ended) -> None:
        self._tell(last.row.instance_id, lambda future: future.set_result(last))

    def purged(self, instance_id: str) -> None:
        """Nobody will ever hear of its end."""
        self._tell(instance_id, lambda future: future.set_exception(InstanceNotFoundError(instance_id)))

    def look_again(self) -> None:
        """What was in memory is gone: those who wait must ask the store again."""
        self.drop(lambda _: True)

    def drop(self, is_gone: Callable[[str], bool]) -> None:
        """These instances are handled elsewhere: those who wait must ask again, there."""
        for instance_id in [each for each in self._waiting if is_gone(each)]:
            self._tell(instance_id, lambda future: future.set_exception(LookAgain()))

    # Those who wait at other nodes; they ask again when the instance's owner has changed

    def follow(self, instance_id: str, followers: Iterable[Address], now: int) -> None:
        """Note who wants a reply when the instance has ended, or is no more; for longer than they wait for it."""
        for address in followers:
            self._followers.setdefault(instance_id, set()).add(address)
            self._followed.append((now, instance_id, address))
        while self._followed and self._followed[0][0] < now - 2 * PATIENCE:
            self._unfollow(*self._followed.popleft()[1:])

    def _unfollow(self, instance_id: str, address: Address) -> None:
        followers = self._followers.get(instance_id, set())
        followers.discard(address)
        if not followers:
            self._followers.pop(instance_id, None)

    def take_followers(self, instance_id: str) -> list[Address]:
        return sorted(self._followers.pop(instance_id, ()))

    def close(self) -> None:
        for instance_id in list(self._waiting):
            self._tell(instance_id, lambda future: future.set_exception(HubClosedError("The hub is closed.")))

    def _tell(self, instance_id: str, settle: "Callable[[asyncio.Future[Ended]], None]") -> None:
        for future in self._waiting.pop(instance_id, ()):
            if not future.done():
                settle(future)
