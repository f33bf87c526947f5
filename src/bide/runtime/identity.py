"""Which process a node is, so that others on the same machine know at once when it is dead, and need not wait for its lease.

A process is named by the system's start, the name space of process ids, the id, and when it began: such a name is never
given twice, and whoever runs on the same system can tell whether it still stands for somebody. Only Linux says all of it.
"""

import os
from pathlib import Path

_PROC = Path("/proc")


def identity() -> str:
    """Name this process; empty where the system does not say enough."""
    here = _here()
    began = _began(os.getpid())
    return "" if here is None or began is None else f"{here} {os.getpid()} {began}"


def is_dead(process: str) -> bool:
    """Whether the process that calls itself so has ended, for certain: it ran here, and is not there any more."""
    here, _, rest = process.partition(" ")
    if not process or here != _here():
        return False
    pid, began = rest.split()
    return _began(int(pid)) != began


def _here() -> str | None:
    """Name the running system, and in it the space in which process ids count."""
    try:
        started = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{started}/{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def _began(pid: int) -> str | None:
    """When the process began, in ticks since the system's start (proc(5): stat, field 22); None for one that has ended."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
