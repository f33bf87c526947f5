"""A PostgreSQL server of our own for the time of a run, with its default settings; or one that somebody names by URL."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

_INSTALLED = "/usr/lib/postgresql/*/bin"


class NoServerError(Exception):
    """Says what is missing and the way out."""


class Server:
    """Gives a fresh database to each workload."""

    def __init__(self, url: str) -> None:
        self._url = url

    def version(self) -> str:
        return self._ask("SHOW server_version").split()[0]

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Return the URL of an empty database that is dropped in the end."""
        self._ask(f"CREATE DATABASE {name}")
        try:
            yield self._of(name)
        finally:
            self._ask(f"DROP DATABASE {name} WITH (FORCE)")

    def size(self, url: str) -> int:
        """Bytes on disk of a database."""
        return int(_psql(url, "SELECT pg_database_size(current_database())"))

    def commits_per_second(self) -> float:
        """One client, transactions of one small row."""
        with self.database("bench_limit") as url, tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            _psql(url, "CREATE TABLE t (k bigserial PRIMARY KEY, v text)")
            script.write("INSERT INTO t (v) VALUES (repeat('x', 100));\n")
            script.flush()
            said = _run([str(_program("pgbench")), "--no-vacuum", "--time=2", f"--file={script.name}", url])
        rate = re.search(r"tps = ([\d.]+)", said)
        assert rate is not None, said
        return float(rate[1])

    def _ask(self, statement: str) -> str:
        return _psql(self._url, statement)

    def _of(self, database: str) -> str:
        return urllib.parse.urlsplit(self._url)._replace(path=f"/{database}").geturl()


@contextlib.contextmanager
def started() -> Iterator[Server]:
    """Run a server on a free port of 127.0.0.1. As root it is run for the user postgres: it refuses root."""
    folder = Path(tempfile.mkdtemp(prefix="bench-postgresql-"))
    user = "postgres" if os.geteuid() == 0 else None
    try:
        if user:
            shutil.chown(folder, user)
        url, command = _prepared(folder, user)
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, user=user, stdout=log, stderr=log) as process,
        ):
            try:
                _wait(url, process, folder / "log")
                yield Server(url)
            finally:
                process.send_signal(signal.SIGINT)  # end the clients, then itself
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
    finally:
        shutil.rmtree(folder)


def _prepared(folder: Path, user: str | None) -> tuple[str, list[str]]:
    """Make a cluster; return the URL it will have and the command that serves it."""
    secret, data = folder / "password", folder / "data"
    secret.write_text(password := secrets.token_hex())
    if user:
        shutil.chown(secret, user)
    options = ["--username=bench", "--auth=scram-sha-256", f"--pwfile={secret}", f"--pgdata={data}"]
    _run([str(_program("initdb")), *options], user=user)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(_program("postgres")), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
    return f"postgresql://bench:{password}@127.0.0.1:{port}/postgres", command


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while subprocess.run([_program("pg_isready"), "-q", "-d", url], check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoServerError(f"PostgreSQL did not start: {log.read_text()[-1000:]}")
        time.sleep(0.05)


def _psql(url: str, statement: str) -> str:
    return _run([str(_program("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, url])


def _run(command: list[str], user: str | None = None) -> str:
    done = subprocess.run(command, user=user, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise NoServerError(f"{Path(command[0]).name}: {done.stderr.strip()}")
    return done.stdout.strip()


def _program(name: str) -> Path:
    """Return where a program of PostgreSQL is: Debian keeps those of the server out of PATH."""
    if found := shutil.which(name):
        return Path(found)
    for folder in sorted(Path("/").glob(_INSTALLED.lstrip("/")), key=_major, reverse=True):
        if (folder / name).exists():
            return folder / name
    raise NoServerError(
        f"{name} of PostgreSQL is not installed (PATH, {_INSTALLED}): install it, or leave such peers out."
    )


def _major(folder: Path) -> int:
    return int(folder.parent.name)
