"""Runs workloads in processes of their own, bounded in time, and gathers what they print."""

import contextlib
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.peers import postgresql
from bench.peers.contestants import Contestant, Kind
from bench.peers.environments import ROOT, python_of
from bench.peers.trials import Figures

_PATIENCE = 180


class FailedTrialError(Exception):
    """A workload did not come to its end; says what its process said last."""


@dataclasses.dataclass
class Result:
    """What is known of a contestant: figures by workload, or why there are none."""

    version: str = ""
    settings: str = ""
    figures: dict[str, Figures] = dataclasses.field(default_factory=dict)
    failures: dict[str, str] = dataclasses.field(default_factory=dict)


def medians(runs: list[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


class Bench:
    """Measures contestants; those on PostgreSQL on `server`."""

    def __init__(self, server: postgresql.Server | None, *, install: bool) -> None:
        self._server = server
        self._install = install

    def described(self, contestant: Contestant) -> Result:
        """Return version and settings. Raises MissingPeerError."""
        with self._place(contestant) as (folder, url):
            return Result(**self._run(contestant, "describe", folder, url))

    def measure(self, contestant: Contestant, workload: str) -> Figures:
        """Return figures; none if the workload makes no sense for the contestant. Raises FailedTrialError."""
        if workload == "W3":
            return self._restart(contestant) if contestant.is_durable else {}
        with self._place(contestant) as (folder, url):
            return self._run(contestant, workload, folder, url)

    def _restart(self, contestant: Contestant) -> Figures:
        """Park, kill, start again; and what is on the disk once the engine was stopped in good order."""
        with self._place(contestant) as (folder, url):
            before = self._size(contestant, folder, url)
            self._run(contestant, "park", folder, url)
            figures: Figures = self._run(contestant, "restart", folder, url)
            size = self._size(contestant, folder, url) - before
        return figures | {"bytes": size / figures["parked"]}

    @contextlib.contextmanager
    def _place(self, contestant: Contestant) -> Iterator[tuple[Path, str]]:
        with tempfile.TemporaryDirectory(dir=ROOT, prefix="bench-") as name, contextlib.ExitStack() as stack:
            url = f"sqlite:///{name}/bench.db"
            if contestant.kind is Kind.POSTGRESQL:
                assert self._server is not None
                url = stack.enter_context(self._server.database(f"bench_{os.getpid()}"))
            yield Path(name), url

    def _size(self, contestant: Contestant, folder: Path, url: str) -> int:
        """Bytes on disk: lengths of files, since some reserve far more than they have written."""
        if contestant.kind is Kind.POSTGRESQL:
            assert self._server is not None
            return self._server.size(url)
        ours = {".json", ".log", ".toml"}
        return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file() and each.suffix not in ours)

    def _run(self, contestant: Contestant, workload: str, folder: Path, url: str) -> dict[str, Any]:
        python, environment = self._interpreter(contestant)
        module = f"bench.peers.engines.{contestant.module}"
        command = [str(python), "-m", "bench.peers.child", module, workload, str(folder), url]
        log = folder / f"{workload}.log"
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            ) as child,
        ):
            try:
                output, _ = child.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                raise FailedTrialError(f"not done after {_PATIENCE} s") from None
            finally:
                with contextlib.suppress(ProcessLookupError):  # whatever the child started and did not end
                    os.killpg(child.pid, signal.SIGKILL)
        if child.returncode not in {0, -signal.SIGKILL} or (workload != "park" and not output):
            said = log.read_text(errors="replace").strip() or f"ended with {child.returncode}"
            raise FailedTrialError(said.splitlines()[-1])
        return json.loads(output.splitlines()[-1]) if output else {}

    def _interpreter(self, contestant: Contestant) -> tuple[Path, dict[str, str]]:
        if contestant.environment is None:
            return Path(sys.executable), dict(os.environ)
        python = python_of(contestant.environment, install=self._install)
        return python, {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
