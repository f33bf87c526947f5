import json

import pytest

from bide.cli import run

APP = '''
import bide

app = bide.App()


@app.orchestrator
def gate(context):
    """Wait for an approval, and hand it to an activity."""
    approved = yield context.wait_for_external_event("Approval", timeout=86400)
    return (yield context.call_activity(check, approved))


@app.activity
def check(approved):
    if approved == "fail":
        raise ValueError("refused")
    return approved


@app.entity
def counter(context):
    context.set_state(context.get_state(int) + context.get_input())


@app.orchestrator
def locker(context):
    yield context.lock_entities(["@counter@a"])
    yield context.wait_for_external_event("End")
'''


@pytest.fixture
def app_file(tmp_path):
    path = tmp_path / "gates.py"
    path.write_text(APP)
    return path


class Cli:
    """Runs `bide` in this process; `on` are options for every command."""

    def __init__(self, capsys, on=()):
        self._capsys = capsys
        self._on = on

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""
        code = run([*arguments, *self._on])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def ok(self, *arguments: str) -> str:
        code, out, err = self(*arguments)
        assert code == 0, (out, err)
        return out

    def json(self, *arguments: str):
        return json.loads(self.ok(*arguments, "--json"))


@pytest.fixture
def cli(capsys, tmp_path, app_file):
    """The command, working on a store with an app of its own."""
    return Cli(capsys, ("--store", f"sqlite:///{tmp_path}/cli.db", "--app", str(app_file)))


@pytest.fixture
def bare(capsys):
    """The command without any options."""
    return Cli(capsys)
