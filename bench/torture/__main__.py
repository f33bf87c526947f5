"""The long mode: `python -m bench.torture --rounds 1000`, or `--minutes 5`. Ends with 1 and names every violation, if any."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.torture.driver import Death, Driver, Manner, Report
from bench.torture.failpoints import ABOUT, Failpoint
from bench.torture.stores import store_at

_EVERY = 10
"""Rounds between two lines of progress."""
_AT_RANDOM = 6
"""Rounds of `kill -9` at a random moment for every round of any other way to go."""


def deaths(rng: random.Random, rounds: int | None, minutes: float | None) -> Iterator[Death]:
    """Every way to go, in random order, again and again; so many rounds, or for so long."""
    end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    done = 0
    while True:
        ways: list[Death] = [*Failpoint, *Manner, *[Manner.KILL] * _AT_RANDOM]
        rng.shuffle(ways)
        for way in ways:
            if time.monotonic() >= end or done == rounds:
                return
            done += 1
            yield way


class Progress:
    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._told = 0

    def __call__(self, report: Report) -> None:
        for violation in report.violations[self._told :]:
            print(f"VIOLATION {violation}", flush=True)
        self._told = len(report.violations)
        if report.rounds % _EVERY == 0:
            print(
                f"{time.monotonic() - self._begin:7.0f} s  {report.rounds:5} rounds  {report.deaths.total():5} deaths  "
                f"{report.stories.total():6} stories  {len(report.violations)} violations",
                flush=True,
            )


def main() -> int:
    options = _options()
    seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="bide-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, in {folder}", flush=True)
    store = store_at(options.store) if options.store is not None else None
    driver = Driver(folder, seed, store=store, lanes=options.lanes, on_round=(progress := Progress()))
    ways = deaths(random.Random(seed), options.rounds, options.minutes)
    report = asyncio.run(driver.run(ways))
    progress(report)
    for death in (*Failpoint, *Manner):
        print(f"{report.deaths[death]:6}  {death}{f': {ABOUT[death]}' if death in ABOUT else ''}")
    for kind, count in report.stories.most_common():
        print(f"{count:6}  stories: {kind}")
    left = report.taken_up
    print(f"{left['messages']} messages and {left['activities']} instances with activities were left to take up")
    print(
        f"{report.rounds} rounds, {driver.journal.accepted} requests accepted, {driver.journal.lost} without an answer, "
        f"{report.stories.total()} stories, {len(report.violations)} violations (seed {seed})"
    )
    return 1 if report.violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.torture", description="Kill bide, and prove that nothing is lost."
    )
    how_long = parser.add_mutually_exclusive_group(required=True)
    how_long.add_argument("--rounds", type=int, help="so many lives of the hub")
    how_long.add_argument("--minutes", type=float, help="for so long")
    parser.add_argument(
        "--seed", type=int, help="of everything that is chosen at random; what the system's scheduler does is not"
    )
    parser.add_argument(
        "--folder", type=Path, help="for journal, notes and store [a new one among the temporary files]"
    )
    parser.add_argument("--store", help="URL of the store [a file in the folder]")
    parser.add_argument("--lanes", type=int, default=16, help="stories that go on at a time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
