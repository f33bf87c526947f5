import asyncio
import sys
import tempfile
from pathlib import Path

from bench.limits import commits_per_second, fsync_ms
from bench.workloads import WORKLOADS

try:
    from uvloop import run
except ImportError:
    run = asyncio.run


def main() -> None:
    chosen = sys.argv[1:] or list(WORKLOADS)
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        print(f"machine: fdatasync {fsync_ms(folder):.2f} ms, SQLite {commits_per_second(folder):,.0f} commits/s")
        for key in chosen:
            print(f"{key}  {(WORKLOADS[key].__doc__ or '').strip()}")
            for line in run(WORKLOADS[key](folder)):
                print(f"    {line}", flush=True)


main()
