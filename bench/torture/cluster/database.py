"""The tables of a hub, as seen from outside, while nodes use them and afterwards."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from bide.core.invariants import problems
from bide.model.codec import decode_turn
from bide.model.commit import Turn
from bide.store.postgres.store import ROW, row_of

_LOOK_SECONDS = 0.02
_OUT_OF_REACH = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_EMPTY_AT_REST = ("inbox", "activities", "replies")
"""Tables that have nothing in them when there is nothing to do."""
_OF_INSTANCES = ("history", "waits", "event_ids")


class Database:
    """`dsn` is for the driver, with all hosts there may be."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self._dsn, timeout=5, target_session_attrs="read-write")
        try:
            await connection.execute(f'SET search_path TO "{self._schema}"')
            return await connection.fetch(sql, *values)
        finally:
            connection.terminate()

    async def until(self, is_so: Callable[[list[Any]], bool], sql: str, *values: Any, seconds: float = 20) -> list[Any]:
        """Look until the rows are as they should be; what they are then. A database that is away is asked again."""
        rows: Any = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        rows = await self.fetch(sql, *values)
                    except _OUT_OF_REACH as error:
                        rows = error
                    else:
                        if is_so(rows):
                            return rows
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"after {seconds} s this is still so: {rows!r} ({sql})") from None

    # Who owns what

    async def owned(self, name: str) -> list[int]:
        """Partitions of the node of this name."""
        rows = await self.fetch(
            "SELECT partition FROM partitions JOIN nodes ON number = node WHERE name = $1 ORDER BY partition", name
        )
        return [partition for (partition,) in rows]

    async def shared_out(self, names: Sequence[str], *, seconds: float = 20) -> None:
        """Wait until exactly these nodes own everything, each as much as the others or one more."""

        def is_fair(rows: list[Any]) -> bool:
            counts = {row["name"]: row["count"] for row in rows}
            return counts.keys() == set(names) and max(counts.values()) - min(counts.values()) <= 1

        await self.until(
            is_fair,
            "SELECT name, count(*) FROM partitions LEFT JOIN nodes ON number = node GROUP BY name",
            seconds=seconds,
        )

    async def taken_over(self, partitions: Sequence[int], since: float, *, seconds: float = 20) -> list[float]:
        """Wait until turns are committed in these partitions again; of each, the seconds from `since` to the first turn's time.

        Partitions in which nothing happens are left out, when half of them have gone on.
        """
        rows = await self.until(
            lambda rows: 2 * len(rows) >= len(partitions),
            "SELECT min(at) FROM history WHERE partition = ANY($1::integer[]) AND at > $2 GROUP BY partition",
            list(partitions), round(since * 1e6), seconds=seconds,
        )  # fmt: skip
        return sorted(at / 1e6 - since for (at,) in rows)

    # Is it sound?

    async def at_rest(self, *, seconds: float = 20) -> list[str]:
        """Wait until nothing is left to do; what is left after so long."""
        count = "SELECT " + ", ".join(f"(SELECT count(*) FROM {each}) AS {each}" for each in _EMPTY_AT_REST)
        try:
            await self.until(lambda rows: not any(rows[0].values()), count, seconds=seconds)
        except TimeoutError as error:
            return [str(error)]
        return []

    async def left(self) -> list[str]:
        """What nodes that have closed must have given back."""
        rows = await self.fetch("SELECT partition, node FROM partitions WHERE node IS NOT NULL")
        found = [f"partition {partition} still belongs to node {node}" for partition, node in rows]
        rows = await self.fetch("SELECT name FROM nodes WHERE expires_at > extract(epoch FROM clock_timestamp()) * 1e6")
        return found + [f"node {name} has not left" for (name,) in rows]

    async def violations(self) -> list[str]:
        """Rows that do not agree with each other."""
        found: list[str] = []
        for table in _OF_INSTANCES:
            rows = await self.fetch(
                f"SELECT DISTINCT t.iid FROM {table} AS t WHERE NOT EXISTS "
                "(SELECT 1 FROM instances AS i WHERE i.partition = t.partition AND i.iid = t.iid)"
            )
            found += [f"{table}: iid {iid} is of no instance" for (iid,) in rows]
        turns: dict[int, list[Turn]] = {}
        for row in await self.fetch("SELECT iid, seq, at, data FROM history ORDER BY iid, seq"):
            turns.setdefault(row["iid"], []).append(Turn(*tuple(row)[1:]))
        for row in map(row_of, await self.fetch(f"SELECT {ROW} FROM instances AS i")):
            own = [(turn, decode_turn(turn.data)) for turn in turns.get(row.iid, [])]
            found += [f"{table}: {row.instance_id}: {problem}" for table, problem in problems(row, own)]
        return found
