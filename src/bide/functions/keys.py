"""Access keys of a hosted app, as the Functions host has them.

========  ======================  ================================================
kind      name                    opens
========  ======================  ================================================
master    `_master`               everything
host      `default`               every function of level `function`
function  `function:NAME`         that function
system    `durabletask_extension` the management API; it is in every management URL
========  ======================  ================================================

The store keeps a digest of each, and the system key itself, which URLs must show. A new key is shown once.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from typing import Protocol

from bide.errors import InvalidInputError

MASTER = "_master"
HOST = "default"
SYSTEM = "durabletask_extension"
_NAMES = (MASTER, HOST, SYSTEM)
_FUNCTION = "function:"
_PREFIX = "key:"


class SettingsStore(Protocol):
    async def get_setting(self, name: str) -> str | None: ...
    async def put_setting(self, name: str, value: str | None) -> None: ...
    async def settings(self, prefix: str) -> Mapping[str, str]: ...


class Keys:
    """The keys of one app. `system` is the text of the system key."""

    def __init__(self, store: SettingsStore) -> None:
        self._store = store
        self._digests: dict[str, str] = {}
        self.system = ""

    async def open(self, functions: Iterable[str]) -> dict[str, str]:
        """Read the stored keys, and make those that are missing; return the new ones, to be shown once."""
        stored = await self._store.settings(_PREFIX)
        self._digests = {name.removeprefix(_PREFIX): digest for name, digest in stored.items()}
        self.system = self._digests.pop(SYSTEM, "")
        wanted = [MASTER, HOST, *(_of_function(name) for name in functions)]
        fresh = {name: await self.rotate(name) for name in wanted if name not in self._digests}
        if not self.system:
            fresh[SYSTEM] = await self.rotate(SYSTEM)
        return fresh

    async def names(self) -> list[str]:
        """List the keys that there are."""
        return sorted(name.removeprefix(_PREFIX) for name in await self._store.settings(_PREFIX))

    async def rotate(self, name: str) -> str:
        """Replace a key by a new one; return it. The old one opens nothing any more.

        Raises `InvalidInputError` for a name that no key can have.
        """
        if name not in _NAMES and not name.startswith(_FUNCTION):
            raise InvalidInputError(f"There is no key {name!r}: use {', '.join(_NAMES)} or {_FUNCTION}NAME.")
        name = name if name in _NAMES else name.casefold()
        key = secrets.token_urlsafe(32)
        if name == SYSTEM:
            self.system = key
            await self._store.put_setting(_PREFIX + name, key)
        else:
            self._digests[name] = _digest(key)
            await self._store.put_setting(_PREFIX + name, self._digests[name])
        return key

    def opens(self, key: str | None, level: str, function: str) -> bool:
        """Whether `key` opens a function of that level (anonymous, function, admin)."""
        if level == "anonymous":
            return True
        if not key:
            return False
        names = (MASTER,) if level == "admin" else (MASTER, HOST, _of_function(function))
        given = _digest(key)
        matches = [hmac.compare_digest(given, self._digests.get(name, "")) for name in names]  # all, in constant time
        return any(matches)


def _of_function(name: str) -> str:
    return f"{_FUNCTION}{name.casefold()}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
