"""Who takes part, and who is compared with whom: like with like."""

import dataclasses
import enum


class Kind(enum.Enum):
    """A table for each: how one gets at the engine, and where it keeps what it knows."""

    EMBEDDED = "In process, on SQLite"
    SERVED = "A server, over HTTP"
    POSTGRESQL = "In process, on PostgreSQL"


@dataclasses.dataclass(frozen=True, slots=True)
class Contestant:
    key: str
    label: str
    kind: Kind
    module: str
    environment: str | None = None
    """None is the environment that this runs in."""
    is_durable: bool = True

    @property
    def is_ours(self) -> bool:
        return self.environment is None


OURS = (
    Contestant("bide", "bide", Kind.EMBEDDED, "bide_embedded"),
    Contestant("bide-http", "bide", Kind.SERVED, "bide_http"),
    Contestant("bide-postgresql", "bide", Kind.POSTGRESQL, "bide_embedded"),
)
PEERS = (
    Contestant("dbos-sqlite", "DBOS", Kind.EMBEDDED, "dbos", "dbos"),
    Contestant("unhinged", "unhinged", Kind.EMBEDDED, "unhinged", "unhinged"),
    Contestant("durabletask", "durabletask, in memory", Kind.EMBEDDED, "durabletask", "durabletask", is_durable=False),
    Contestant("restate", "Restate", Kind.SERVED, "restate", "restate"),
    Contestant("dbos-postgresql", "DBOS", Kind.POSTGRESQL, "dbos", "dbos"),
    Contestant("absurd", "absurd", Kind.POSTGRESQL, "absurd", "absurd"),
)
BY_KEY = {each.key: each for each in (*OURS, *PEERS)}


def with_ours(peers: list[Contestant]) -> list[Contestant]:
    """Return the peers and, of ours, those that they are compared with."""
    kinds = {each.kind for each in peers}
    return [each for each in OURS if each.kind in kinds] + [each for each in peers if not each.is_ours]
