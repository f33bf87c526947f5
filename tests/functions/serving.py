"""Hosted apps run as they do for users: `bide serve FOLDER`, a process of its own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

APPS = Path(__file__).parent / "apps"
BASE = "/runtime/webhooks/durabletask"


class Served:
    """A running app. `said` is what it has printed before it was ready."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.said = ""
        self.url = self._read_url()
        self.http = httpx.Client(base_url=self.url, timeout=20)

    def _read_url(self) -> str:
        assert self.process.stdout is not None
        url = None
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"on (http://[^ ]+)\s", line):
                url = found[1]
            if line.startswith("ready"):
                assert url is not None
                return url
        raise AssertionError(self.said + self.log.read_text())

    def crash(self) -> None:
        self.process.kill()
        self.process.wait()

    def manage(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.http.request(method, f"{BASE}/{path}", **options)

    def ended(self, instance_id: str) -> dict[str, Any]:
        answer = self.manage("GET", f"instances/{instance_id}?waitForCompletion=15")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def raise_event(self, instance_id: str, name: str, data: Any) -> int:
        return self.manage("POST", f"instances/{instance_id}/raiseEvent/{name}", json=data).status_code


@contextlib.contextmanager
def serve(app: Path, folder: Path, *options: str, **env: str) -> Iterator[Served]:
    log = folder / "stderr.log"
    command = [sys.executable, "-u", "-m", "bide", "serve", str(app), "--port", "0", *options]
    store = () if "--store" in options else ("--store", f"sqlite:///{folder}/bide.db")
    with (
        log.open("a") as errors,
        subprocess.Popen(
            [*command, *store],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
            env={**os.environ, "COLUMNS": "200", **env},
        ) as process,
    ):
        try:
            served = Served(process, log)
            with served.http:
                yield served
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(15) == 0, log.read_text()
        finally:
            process.kill()
