"""Measures bide beside the machine's own limit, in the same run: `make bench`, or `python -m bench W1 W2-http`."""

import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import cluster, growth, http, profile, workloads
from bench.limits import commits_per_second, fsync_ms

WORKLOADS: dict[str, Callable[[Path], Awaitable[list[str]]]] = {
    "W1": workloads.w1,
    "W1-busy": workloads.w1_busy,
    "W1-two": workloads.w1_two,
    "W1-http": http.w1,
    "W1-two-http": http.w1_two,
    "W1-azure": http.w1_azure,
    "W2": workloads.w2,
    "W2-http": http.w2,
    "W3": workloads.w3,
    "W4": workloads.w4,
    "W4-http": http.w4,
    "W5": workloads.w5,
    "W6": workloads.w6,
    "postgres": cluster.postgres,
    "cluster": cluster.cluster,
    "growth": growth.growth,
    "million": workloads.million,
    "profile": profile.profile,
}
_ON_REQUEST = {"postgres", "cluster", "growth", "million", "profile"}


def main() -> None:
    chosen = sys.argv[1:] or [key for key in WORKLOADS if key not in _ON_REQUEST]
    if unknown := set(chosen) - set(WORKLOADS):
        sys.exit(f"No such workload: {', '.join(sorted(unknown))}. There are {', '.join(WORKLOADS)}.")
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        print(f"machine: fdatasync {fsync_ms(folder):.2f} ms, SQLite {commits_per_second(folder):,.0f} commits/s")
        for key in chosen:
            print(f"{key}  {(WORKLOADS[key].__doc__ or '').strip()}")
            for line in workloads.run(WORKLOADS[key](folder)):
                print(f"    {line}", flush=True)


main()
