"""Activities that any node may claim."""

from collections.abc import Collection, Mapping
from typing import Any

from bide.model.commit import ActivityKey, OfferedActivity
from bide.model.partitions import partition_of_iid
from bide.store.postgres.batch import offered
from bide.store.postgres.connection import Connection
from bide.store.postgres.membership import Membership
from bide.store.postgres.statements import SQL


class PostgresActivities(Membership):
    """See `SharedStore`."""

    async def claim_activities(self, names: Mapping[str, int | None], limit: int, ttl: int) -> list[OfferedActivity]:
        rows = await self._claim_free(names, limit, ttl)
        if len(rows) < limit and await self._fetch(SQL["give_back"], None):
            rows += await self._claim_free(names, limit - len(rows), ttl)
        return [
            OfferedActivity(ActivityKey(iid, execution_id, task_id), instance_id, name, data)
            for _, iid, execution_id, task_id, instance_id, name, data in rows
        ]

    async def _claim_free(self, names: Mapping[str, int | None], limit: int, ttl: int) -> list[Any]:
        node = self._number()
        unlimited = [name for name, most in names.items() if most is None]
        limits = {name: most for name, most in names.items() if most is not None}
        if limits:

            async def claim(connection: Connection) -> list[Any]:
                rooms = await _rooms(connection, limits)
                return await connection.fetch(
                    SQL["claim_activities"], node, unlimited, list(rooms), list(rooms.values()), limit, ttl
                )

            rows = await self._transaction(claim)
        else:
            rows = await self._fetch(SQL["claim_activities"], node, unlimited, [], [], limit, ttl)
        return sorted(rows, key=lambda row: row[:4])

    async def hold_activities(self, activities: Collection[OfferedActivity], ttl: int) -> None:
        if not activities:
            return
        node = self._number()
        tenures = self._leases.of(sorted({partition_of_iid(each.key.iid) for each in activities}))
        held = [each.partition for each in tenures], [each.epoch for each in tenures]
        columns = [list(column) for column in zip(*map(offered, activities), strict=True)]
        [(count,)] = await self._fetch(SQL["hold_activities"], node, ttl, *held, *columns)
        if count < len(tenures):
            raise self._leases.lost("another node has claimed a partition of this one")


async def _rooms(connection: Connection, limits: Mapping[str, int]) -> dict[str, int]:
    """Tell how many more of each name may be claimed. It stays true until the transaction ends: others wait here."""
    names = sorted(limits)
    locked = await connection.fetch(SQL["lock_limits"], names)
    if len(locked) < len(names):
        await connection.execute(SQL["know_limits"], names)
        await connection.fetch(SQL["lock_limits"], names)
    claims = await connection.fetch(SQL["count_claims"], names)
    claimed: dict[str, int] = dict(map(tuple, claims))
    return {name: max(0, most - claimed.get(name, 0)) for name, most in limits.items()}
