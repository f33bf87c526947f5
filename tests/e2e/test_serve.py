"""`bide serve` as a process: from a file to an answer by HTTP, stop and go on, reload, and what it refuses."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

BASE = "/runtime/webhooks/durabletask"
APP = """
import bide

app = bide.App()

@app.orchestrator
def gate(context):
    approved = yield context.wait_for_external_event("Approval")
    return [approved, ANSWER]
"""


@pytest.fixture
def app_file(tmp_path):
    path = tmp_path / "gate.py"
    path.write_text(APP.replace("ANSWER", "1"))
    return path


class Server:
    """A running `bide serve`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = self.read_url()
        self.http = httpx.Client(base_url=self.url + BASE, timeout=20)

    def read_url(self) -> str:
        """Read what it says until it names its address."""
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if found := re.search(r"on (http://[^ ]+)\s", line):
                return found[1]
        raise AssertionError("".join(said))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@contextlib.contextmanager
def serve(app: Path, *options: str, **env: str) -> Iterator[Server]:
    command = [sys.executable, "-u", "-m", "bide", "serve", str(app), "--port", "0", *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=app.parent,
        env={**os.environ, "COLUMNS": "200", **env},
    ) as process:
        server = Server(process)
        try:
            yield server
        finally:
            server.http.close()
            if process.poll() is None:
                process.kill()


def refused(app: Path, *options: str) -> str:
    """Serve in vain; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "bide", "serve", str(app), *options],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=app.parent,
        check=False,
    )
    assert done.returncode == 2, done
    assert done.stderr.startswith("bide: "), done.stderr
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_instance_survives_its_server(app_file, number):
    """Start, stop the server by signal, serve again, raise: it goes on; the store lies where the command was given."""
    with serve(app_file) as server:
        assert server.http.post("/orchestrators/gate/g1").status_code == 202
        assert server.http.post("/instances/g1/raiseEvent/Early", json=1).status_code == 202
        code = server.stop(number)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert (app_file.parent / "bide.db").exists()
    with serve(app_file) as server:
        assert server.http.get("/instances/g1").json()["buffered"] == {"Early": 1}
        assert server.http.post("/instances/g1/raiseEvent/Approval", json=True).status_code == 202
        answer = server.http.get("/instances/g1", params={"waitForCompletion": 20})
        assert (answer.status_code, answer.json()["output"]) == (200, [True, 1])
        assert server.stop() == 0


def test_activities_in_worker_processes(tmp_path):
    """The workers load the file that is served, whatever it is called, and end with the server."""
    path = tmp_path / "heavy-work.py"
    path.write_text(
        "import os, bide\napp = bide.App()\n"
        "@app.activity(process=True)\ndef compute(): return [os.getpid(), os.getppid()]\n"
        "@app.orchestrator\ndef heavy(context): return (yield context.call_activity(compute))\n"
    )
    with serve(path, "--activity-processes", "1") as server:
        server.http.post("/orchestrators/heavy/h1")
        worker, parent = server.http.get("/instances/h1", params={"waitForCompletion": 20}).json()["output"]
        assert (worker != server.process.pid, parent) == (True, server.process.pid)
        assert server.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_stop_answers_those_who_wait(app_file):
    """SIGTERM during a long poll: it is answered or closed, and the server ends within its time."""
    with serve(app_file) as server:
        server.http.post("/orchestrators/gate/g1")
        request = f"GET {BASE}/instances/g1?waitForCompletion=30 HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as waiting:
            waiting.sendall(request)
            assert server.http.get("/instances").status_code == 200  # so the long poll has been read
            assert server.stop() == 0, "well before the 10 seconds that requests are given"
            assert waiting.recv(100).startswith(b"HTTP/1.1 202")


def test_keys(app_file):
    """With a key every management request needs it, by query or header; /healthz needs none."""
    with serve(app_file, "--key", "s3cret", "--hub", "mine") as server:
        assert server.http.get("/instances").status_code == 401
        assert server.http.get("/instances", params={"code": "wrong"}).status_code == 401
        assert server.http.get("/instances", params={"code": "s3cret"}).status_code == 200
        assert server.http.get("/instances", headers={"x-functions-key": "s3cret"}).status_code == 200
        assert httpx.get(server.url + "/healthz").json() == {"status": "ok"}
        started = server.http.post("/orchestrators/gate?code=s3cret").json()
        assert "taskHub=mine" in started["statusQueryGetUri"]
        assert httpx.get(started["statusQueryGetUri"]).status_code == 202


def test_reload(app_file):
    """With --reload a changed file is served at once; instances that wait go on with the new code."""
    with serve(app_file, "--reload") as server:
        server.http.post("/orchestrators/gate/g1")
        app_file.write_text(APP.replace("ANSWER", "2"))
        with httpx.Client(base_url=server.read_url() + BASE, timeout=20) as again:
            again.post("/instances/g1/raiseEvent/Approval", json=True)
            assert again.get("/instances/g1", params={"waitForCompletion": 20}).json()["output"] == [True, 2]
        assert server.stop() == 0


def test_an_open_address_needs_a_key(app_file):
    assert "a key is needed: pass --key" in refused(app_file, "--host", "0.0.0.0")


def test_a_port_that_is_taken(app_file):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"127.0.0.1:{port}: Address already in use" in refused(app_file, "--port", port)


def test_an_app_that_does_not_exist(app_file):
    assert "There is no file" in refused(app_file.with_name("nothing.py"))
