"""Starts the servers that the tests need, on free loopback ports, and ends them by their process id."""

import contextlib
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_READY_SECONDS = 30


def program(name: str, package: str) -> str:
    """Path of a program; the test is skipped, with the reason, where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (apt-get install {package})")
    return path


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(command, ready, folder):
    """Run a server until the block ends; gives the match of `ready` in what it prints."""
    process = subprocess.Popen(
        [str(part) for part in command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    reader = threading.Thread(target=process.stdout.read, daemon=True)  # so that the pipe never fills up
    try:
        match = _until(process, ready)
        reader.start()
        yield match
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if reader.is_alive():
            reader.join()
        process.stdout.close()


def _until(process, ready):
    """Read what the server prints until it is ready, for a bounded time."""
    deadline = threading.Timer(_READY_SECONDS, process.kill)
    deadline.start()
    printed = []
    try:
        for line in process.stdout:
            printed.append(line)
            if match := re.search(ready, line):
                return match
    finally:
        deadline.cancel()
    raise RuntimeError(f"{process.args[0]} did not start:\n{''.join(printed)}")


def install_azurite(npm: str) -> Path:
    """Install the emulator into the build folder, once; the first time it takes a while."""
    folder = ROOT / "build/azurite"
    folder.mkdir(parents=True, exist_ok=True)
    package = (ROOT / "tests/azurite/package.json").read_text()
    mark = folder / "package.json"
    if not mark.is_file() or mark.read_text() != package:
        mark.write_text(package)
        command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=240)
        except BaseException:
            mark.unlink()
            raise
    return folder / "node_modules/azurite/dist/src/queue/main.js"
