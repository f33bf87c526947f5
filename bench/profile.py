"""Where the time goes: py-spy samples W1 with its native frames, and each sample of the loop's thread is put down to a part.

A sample counts for the innermost frame that a pattern below knows. What the loop waits for is left out: shares are of the
time in which its thread works.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.http import approve, listening_at, open_connections, spread
from bench.workloads import Lines

_RATE = 100
_WAITING = "waiting"
_PARTS = (
    (_WAITING, ("epoll_",)),
    ("waiting for the interpreter's lock", ("pthread_cond_",)),
    ("garbage collector", ("gc_collect_main",)),
    ("encoding (msgspec)", ("msgspec/", "bide/model/codec.py", "bide/model/messages.py")),
    ("rules and user code", ("bide/core/", "bench/app.py")),
    ("partition, activities, client", ("bide/runtime/", "bide/client/", "bide/app/", "bide/model/")),
    ("batches for SQLite, reads", ("bide/store/",)),
    ("HTTP: bide", ("bide/http/",)),
    ("HTTP: uvicorn", ("uvicorn/", "httptools")),
    ("load", ("bench/",)),
    ("event loop, sockets (uvloop, asyncio)", ("uvloop/", "asyncio/", "loop.c", "threading.py")),
)


async def profile(folder: Path) -> Lines:
    """Where the time goes in W1, in process with 256 in flight and over HTTP with 64 connections (needs py-spy)."""
    if shutil.which("py-spy") is None:
        raise SystemExit("There is no py-spy: pip install py-spy")
    code = f"from bench.workloads import run_alone; run_alone({str(folder)!r}, 'profile')"
    samples = folder / "in-process"
    process = await _start(samples, "-c", code, stdin=asyncio.subprocess.PIPE)
    await process.communicate(b"go\n")
    lines = ["in process:", *_shares(samples)]
    samples = folder / "over-http"
    store = f"sqlite:///{folder}/profile-http.db"
    process = await _start(samples, "-m", "bide", "serve", "bench/app.py", "--port", "0", "--store", store)
    assert process.stdout is not None
    await spread(await open_connections(await listening_at(process.stdout), 64), approve, 10_000)
    os.kill(_child_of(process.pid), signal.SIGTERM)
    await process.communicate()
    return [*lines, "over HTTP, the server:", *_shares(samples)]


async def _start(samples: Path, *arguments: str, stdin: int | None = None) -> asyncio.subprocess.Process:
    spy = ["py-spy", "record", "--native", "--format", "raw", "--rate", str(_RATE), "--output", str(samples), "--"]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *spy, sys.executable, *arguments, stdin=stdin, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _shares(samples: Path) -> Iterator[str]:
    parts: Counter[str] = Counter()
    writing: Counter[bool] = Counter()
    for stack, count in _stacks(samples):
        if "Writer._write" in stack:
            writing["fdatasync" in stack] += count
        elif "run_forever" in stack or "run_until_complete" in stack:
            parts[_part(stack)] += count
    with contextlib.suppress(KeyError):
        del parts[_WAITING]
    for part, count in parts.most_common():
        yield f"  {count / parts.total():4.0%}  {part}"
    beside = writing.total() / parts.total()
    yield f"  the writer's thread beside it: {beside:.0%} as much, of which fdatasync {writing[True] / writing.total():.0%}"


def _stacks(samples: Path) -> Iterator[tuple[str, int]]:
    for line in samples.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        yield stack, int(count)


def _part(stack: str) -> str:
    for frame in reversed(stack.split(";")):
        for part, patterns in _PARTS:
            if any(pattern in frame for pattern in patterns):
                return part
    return "else"
