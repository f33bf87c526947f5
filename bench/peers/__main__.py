"""Ours and others side by side: `python -m bench.peers`, or `python -m bench.peers --peers restate --workloads W1 W2`.

Temporal is not among them: its development server is a program to be downloaded, and comes from no package registry.
"""

import argparse
import collections
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import os
import platform
import sys
from pathlib import Path

from bench.peers import machine, postgresql, table
from bench.peers.contestants import BY_KEY, PEERS, Contestant, Kind, with_ours
from bench.peers.environments import MissingPeerError
from bench.peers.measuring import Bench, FailedTrialError, Result, medians
from bench.peers.trials import Figures

WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6")


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument(
        "--peers", nargs="+", choices=list(BY_KEY), default=[each.key for each in PEERS], metavar="PEER"
    )
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="W")
    parser.add_argument("--postgres", metavar="URL", help="a server to use instead of one started for this run")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="measure all so often, show medians")
    parser.add_argument("--no-install", action="store_true", help="only peers that are installed in build/peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there, too")
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed(sys.argv[1:])
    contestants = with_ours([BY_KEY[key] for key in options.peers])
    with contextlib.ExitStack() as stack:
        server = _server(contestants, options.postgres, stack)
        bench = Bench(server, install=not options.no_install)
        results = _described(bench, contestants)
        limits = _rounds(bench, results, server, options)
        database = server.version() if server else ""
    _report(results, limits, database, options)


def _server(contestants: list[Contestant], url: str | None, stack: contextlib.ExitStack) -> postgresql.Server | None:
    if all(each.kind is not Kind.POSTGRESQL for each in contestants):
        return None
    return postgresql.Server(url) if url else stack.enter_context(postgresql.started())


def _described(bench: Bench, contestants: list[Contestant]) -> dict[Contestant, Result]:
    results = {}
    for contestant in contestants:
        try:
            results[contestant] = bench.described(contestant)
        except (MissingPeerError, FailedTrialError) as error:
            print(f"{contestant.key} is left out. {error}", file=sys.stderr)
    return results


def _rounds(
    bench: Bench, results: dict[Contestant, Result], server: postgresql.Server | None, options: argparse.Namespace
) -> Figures:
    """Measure all in turn, and again, so that all meet the same weather; return the machine's own figures."""
    limits, runs = [], collections.defaultdict(list)
    for _ in range(options.repeat):
        limits.append(machine.limits(_kinds(results), server))
        for workload, contestant in itertools.product(options.workloads, results):
            try:
                figures = bench.measure(contestant, workload)
            except FailedTrialError as error:
                results[contestant].failures[workload] = str(error)
                print(f"{contestant.key} failed in {workload}: {error}", file=sys.stderr, flush=True)
            else:
                runs[contestant, workload].append(figures)
                said = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
                print(f"{workload} {contestant.key}: {said}", file=sys.stderr, flush=True)
    for (contestant, workload), figures in runs.items():
        results[contestant].figures[workload] = medians(figures)
    return medians(limits)


def _report(results: dict[Contestant, Result], limits: Figures, database: str, options: argparse.Namespace) -> None:
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    where = f"{os.cpu_count()} cores ({_processor()}), Python {platform.python_version()}"
    where += f", PostgreSQL {database}" if database else ""
    print(f"{today}, {where}, medians of {options.repeat}. Nx: ours is N times as good.\n")
    print(table.tables(results, {kind: machine.sentence(kind, limits) for kind in _kinds(results)}, options.workloads))
    print()
    for contestant, result in results.items():
        print(f"- {contestant.key} {result.version}: {result.settings}.")
    print("\n" + "\n".join(table.ahead(results) or ["No peer is ahead of ours in any figure."]))
    if options.json:
        measured = {each.key: dataclasses.asdict(result) for each, result in results.items()}
        said = {"date": today, "machine": where, "repeat": options.repeat, "limits": limits, "results": measured}
        options.json.write_text(json.dumps(said, indent=2))


def _kinds(results: dict[Contestant, Result]) -> set[Kind]:
    return {each.kind for each in results}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
