"""Names of the channels on which nodes notify each other, and what is said on them."""

from collections.abc import Iterator
from hashlib import sha256

_LONGEST_SCHEMA = 24
_CHARACTERS_PER_NOTICE = 1900
"""A notice has less than 8,000 bytes, and a character may have four."""


class Channels:
    """Channels are the database's, so their names begin with the schema, or its hash when it is long: a name has 63 bytes."""

    def __init__(self, schema: str) -> None:
        self._schema = schema if len(schema) <= _LONGEST_SCHEMA else _short(schema)
        self.nodes = f"{self._schema}:nodes"
        self.activities = f"{self._schema}:activities"

    def partition(self, number: int) -> str:
        return f"{self._schema}:p{number}"

    def node(self, number: int) -> str:
        return f"{self._schema}:n{number}"

    def queue(self, name: str) -> str:
        return f"{self._schema}:q:{_short(name)}"

    @staticmethod
    def reply_payloads(request: int, data: str) -> Iterator[str]:
        """Cut a reply to `request` into notices: the request, how many are still to come, and a part of the data."""
        parts = [data[at : at + _CHARACTERS_PER_NOTICE] for at in range(0, len(data), _CHARACTERS_PER_NOTICE)] or [""]
        for place, part in enumerate(parts, 1):
            yield f"{request} {len(parts) - place} {part}"


class Replies:
    """Puts replies together again. Notices of one transaction come in order, and those of others not between them."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def take(self, payload: str) -> tuple[int, str] | None:
        """Return request and data, when this notice completes a reply."""
        request, missing, part = payload.split(" ", 2)
        self._parts.append(part)
        if missing != "0":
            return None
        data = "".join(self._parts)
        self._parts.clear()
        return int(request), data

    def forget(self) -> None:
        """The connection was lost: what was begun will not be completed."""
        self._parts.clear()


def _short(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:20]
