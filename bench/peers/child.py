"""Runs one workload of one engine, in that engine's environment, and prints what came of it as a line of JSON."""

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path

from bench.peers.engine import Place
from bench.peers.trials import TRIALS

try:
    from uvloop import run
except ImportError:
    run = asyncio.run


def main(module: str, workload: str, folder: str, url: str) -> None:
    engine = importlib.import_module(module)
    if workload == "describe":
        answer = {"version": engine.version(), "settings": engine.settings(url)}
    else:
        answer = run(TRIALS[workload](engine.opened, Place(Path(folder), url), engine.SCALE))
    print(json.dumps(answer), flush=True)
    os._exit(0)  # a pool of threads that still polls need not be waited for


main(*sys.argv[1:])
