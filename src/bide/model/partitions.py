"""Into which partition an instance belongs, and how an iid tells it.

A store that several nodes share is cut into partitions, each of which one node owns at a time. The cut never changes:
an instance's partition follows from its id.
"""

from zlib import crc32

MAX_PARTITIONS = 1024
"""As many as an iid has room for."""

_PARTITION_BITS = 10
_COUNTER_BITS = 32
_LARGEST_IID = (1 << 63) - 1


def partition_of(instance_id: str, count: int) -> int:
    """Tell into which of `count` partitions an instance belongs."""
    return crc32(instance_id.encode()) % count


def make_iid(partition: int, epoch: int, number: int) -> int:
    """Make an iid that nobody else can make: the epoch is this owner's alone, `number` counts its instances.

    Raises `OverflowError` after two million epochs of a partition, or four thousand million instances of one.
    """
    iid = (epoch << _COUNTER_BITS | number) << _PARTITION_BITS | partition
    if iid > _LARGEST_IID or number >> _COUNTER_BITS:
        raise OverflowError(f"partition {partition} has no more iids in epoch {epoch}")
    return iid


def partition_of_iid(iid: int) -> int:
    """Tell the partition of an instance by its iid."""
    return iid & (MAX_PARTITIONS - 1)
