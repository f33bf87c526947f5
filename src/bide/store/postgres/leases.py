"""What this node believes to hold: partitions, and under which epochs."""

import asyncio
from collections.abc import Iterable

import msgspec

from bide.errors import LeaseLostError
from bide.model.partitions import make_iid


class Tenure(msgspec.Struct, eq=False):
    """A partition in our hands, from a claim until it is lost or given back. `last` numbers instances within the epoch.

    The epoch rises when the connection that commits is made anew; the tenure goes on.
    """

    partition: int
    epoch: int
    last: int = 0

    def raise_to(self, epoch: int) -> None:
        self.epoch = epoch
        self.last = 0

    def new_iid(self) -> int:
        self.last += 1
        return make_iid(self.partition, self.epoch, self.last)


class Leases:
    """The tenures by partition, and the number of the node that has them."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._tenures: dict[int, Tenure] = {}
        self.node: int | None = None
        self.changing = asyncio.Lock()
        """Held by whoever asks the database about leases, until what it said is noted here."""

    @property
    def held(self) -> frozenset[int]:
        return frozenset(self._tenures)

    def of(self, partitions: Iterable[int]) -> list[Tenure]:
        """Tenures of `partitions`; `LeaseLostError` when one is not held."""
        try:
            return [self._tenures[each] for each in partitions]
        except KeyError as error:
            raise self.lost(f"partition {error} is not held by this node") from None

    def are_current(self, tenures: Iterable[Tenure]) -> bool:
        """Whether none of them has been lost since, not even if the partition is held again."""
        return all(self._tenures.get(each.partition) is each for each in tenures)

    def all(self) -> list[Tenure]:
        return list(self._tenures.values())

    def begin(self, partition: int, epoch: int) -> None:
        self._tenures[partition] = Tenure(partition, epoch)

    def end(self, partitions: Iterable[int]) -> None:
        for each in partitions:
            self._tenures.pop(each, None)

    def lost(self, reason: str) -> LeaseLostError:
        return LeaseLostError(
            f"{self._where}: {reason}. Another node owns the instance now, or will; repeat the request."
        )
