"""The process that is killed: a hub with the torture's app, served on a port of its own.

`python -m bench.torture.worker --store URL --notes FOLDER [--failpoint NAME --hit N]`; it says its port on stdout when it serves.
"""

import argparse
import asyncio
import logging
import os
import random
import resource
import signal
from pathlib import Path

from bench.torture.app import add_activities, app
from bench.torture.failpoints import DeadlyStore, Failpoint, Trap, spring
from bench.torture.notes import Notes, is_mended
from bide import Hub
from bide.http.server import listen, serve
from bide.store import Store, open_store
from bide.testing import FaultyStore

try:
    from uvloop import run
except ImportError:
    run = asyncio.run

SQLITE = "sqlite:///"
SAID = "failpoint"
"""Name of the file, in the folder of the notes, that says where the last process died."""
_OFTEN = 17
"""Every so many commits one is refused, when the store is to be faulty."""
_LARGEST_NOTES = 256 << 10
"""Bytes that a process may need for its notes, also when the disk is full: they are how its activities are known."""


def main() -> None:
    options = _options()
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run(_run(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--failpoint", type=Failpoint)
    parser.add_argument("--hit", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faulty", action="store_true", help="refuse some commits")
    parser.add_argument("--max-resident", type=int, default=10_000)
    return parser.parse_args()


async def _run(options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    said = os.open(options.notes / SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    trap = Trap(options.failpoint, options.hit, said, rng)
    trap.watch_sql()
    notes = Notes(options.notes)

    def note(instance_id: str, step: int) -> dict:
        done = notes.write(instance_id, step)
        trap.reach(Failpoint.ACTIVITY_DONE)
        return done

    add_activities(note, lambda name: is_mended(options.notes, name))
    listener = listen("127.0.0.1", 0, key=None)
    hub = Hub(app, _store(options, trap, rng), activity_threads=4, max_resident=options.max_resident)
    async with hub:
        spring(hub, trap)
        _fill_disk_on_signal(_files(options.store))
        api = hub.asgi()
        await serve(api, listener, on_started=lambda port: print(port, flush=True), on_stopping=api.stop_waiting)


def _store(options: argparse.Namespace, trap: Trap, rng: random.Random) -> Store:
    store = open_store(options.store)
    if options.faulty:
        store = _Faulty(store, rng)
    return DeadlyStore(store, trap, _files(options.store), rng)


def _files(store: str) -> tuple[Path, ...]:
    """The files of the store that grow, if it has any here."""
    if not store.startswith(SQLITE):
        return ()
    path = store.removeprefix(SQLITE)
    return Path(path), Path(f"{path}-wal")


class _Faulty(FaultyStore):
    """Refuses a commit now and then."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        super().__init__(store)
        self._rng = rng

    def commit(self, batch):
        if self._rng.randrange(_OFTEN) == 0:
            self.fail_next(1)
        return super().commit(batch)


def _fill_disk_on_signal(files: tuple[Path, ...]) -> None:
    """SIGUSR1: no file grows any more, which is an error of the disk to SQLite; SIGUSR2: there is room again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    loop = asyncio.get_running_loop()

    def fill() -> None:
        size = max(_LARGEST_NOTES, *(file.stat().st_size for file in files if file.exists()))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    loop.add_signal_handler(signal.SIGUSR1, fill)
    loop.add_signal_handler(signal.SIGUSR2, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))


if __name__ == "__main__":
    main()
