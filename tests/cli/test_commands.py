"""Every command, on a store; what it prints for people, what for programs, and with which code it ends."""

import io
import json
import re
from pathlib import Path

import pytest

from bide.cli import commands
from bide.cli.exits import Exit
from bide.cli.serve import own_address

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text()


def test_a_life_on_the_command_line(cli):
    """Start, show, raise, show: with words for people."""
    assert cli.ok("start", "gate", "--id", "g1", "--input", '{"permit": 17}') == "g1\n"
    shown = cli.ok("show", "g1")
    for words in ("g1  gate  Running", "waits    Approval since 0 s ago", "until", 'input    {"permit": 17}'):
        assert words in shown
    assert "Approval  g1" in re.sub(" +", "  ", cli.ok("waits", "APPROVAL"))
    assert cli.ok("raise", "g1", "Approval", '"yes"', "--event-id", "e1", "--wait").count("Completed") == 1
    assert 'output   "yes"' in cli.ok("show", "g1")
    assert "already accepted" in cli.ok("raise", "g1", "Approval", '"yes"', "--event-id", "e1")
    assert "EventRaised" in cli.ok("history", "g1")
    assert "g1" in cli.ok("list", "--status", "Completed", "--name", "gate")
    assert cli.ok("list", "--status", "Running") == "No instances.\n"
    assert cli.ok("start", "gate", "12.5", "--id", "g2") == "g2\n"
    assert "accepted, and buffered: g2 waits for 'Approval'" in cli.ok("raise", "g2", "Aproval", "true")
    assert "There are more than 1" in cli("list", "--limit", "1")[2]
    assert len(cli.ok("list").splitlines()[1].split()[0]) == len("g2"), "ids are never cut"
    assert cli.ok("purge", "g1") == "removed 1\n"


def test_json_for_programs(cli):
    """`--json` writes one document."""
    assert cli.json("start", "gate", "--id", "g1") == {"instanceId": "g1"}
    assert cli.json("show", "g1")["waits"][0]["name"] == "Approval"
    assert [each["instanceId"] for each in cli.json("list")] == ["g1"]
    assert [each["name"] for each in cli.json("waits", "--instance", "g1")] == ["Approval"]
    assert cli.json("suspend", "g1", "--reason", "audit") == {"instanceId": "g1"}
    assert cli.json("show", "g1")["runtimeStatus"] == "Suspended"
    assert cli.json("resume", "g1") == {"instanceId": "g1"}
    assert cli.json("terminate", "g1", "--reason", "enough") == {"instanceId": "g1"}
    assert cli("raise", "g1", "Approval")[0] == Exit.CONFLICT
    assert cli.json("dead-letters")[0]["reason"] == "instance-ended"
    assert cli.json("restart", "g1", "--same-id") == {"instanceId": "g1"}
    other = cli.json("restart", "g1")["instanceId"]
    assert other != "g1"
    cli.json("terminate", other)
    assert [entry["eventType"] for entry in cli.json("history", other)][-1] == "ExecutionTerminated"
    assert cli.json("purge", "--status", "Terminated", "--yes") == {"instancesDeleted": 1}


def test_entities(cli):
    """Signal, show, list; in words and as documents."""
    assert cli.ok("entity", "signal", "@Counter@a", "add", "5") == "accepted\n"
    assert cli.json("entity", "signal", "@counter@a", "add", "-2") == {"entityId": "@counter@a", "operation": "add"}
    assert cli.ok("entity", "signal", "@counter@later", "add", "1", "--at", "2999-01-01T00:00:00") == "accepted\n"
    shown = cli.ok("entity", "show", "@counter@a")
    assert "active   0 s ago" in shown
    assert "state    3" in shown
    document = cli.json("entity", "show", "@counter@a")
    assert (document["entityId"], document["state"]) == ({"name": "counter", "key": "a"}, 3)
    assert "@counter@a" in cli.ok("entities", "COUNTER")
    assert [(each["entityId"]["key"], each["state"]) for each in cli.json("entities", "--state")] == [
        ("later", None),
        ("a", 3),
    ]
    assert cli.ok("entities", "nobody") == "No entities.\n"
    assert "There are more than 1" in cli("entities", "--limit", "1")[2]
    assert "No instances" in cli.ok("list")
    assert cli.ok("purge", "@counter@a", "--force") == "removed 1\n"
    assert cli.ok("start", "locker", "--id", "l1") == "l1\n"
    assert "locked   by l1" in cli.ok("entity", "show", "@counter@a")
    assert cli.json("history", "l1")[2]["event"]["entities"] == ["@counter@a"]


def test_rewind(cli):
    cli.ok("start", "gate", "--id", "g1")
    assert cli("raise", "g1", "Approval", "--no-such-option")[0] == Exit.USAGE
    code, out, _ = cli("raise", "g1", "Approval", '"fail"', "--wait")
    assert code == Exit.FAILED
    assert "ValueError: refused" in out
    assert cli.ok("rewind", "g1", "--reason", "try again") == "rewound\n"


def test_data_from_a_file_and_from_standard_input(cli, tmp_path, monkeypatch):
    path = tmp_path / "data.json"
    path.write_text('{"from": "file"}')
    cli.ok("start", "gate", "--id", "g1", "--input", f"@{path}")
    assert cli.json("show", "g1")["input"] == {"from": "file"}
    monkeypatch.setattr("sys.stdin", io.StringIO("[1, 2]"))
    cli.ok("raise", "g1", "Approval", "-", "--wait")
    assert cli.json("show", "g1")["output"] == [1, 2]


def test_queues(cli, tmp_path, monkeypatch):
    """Send, list, peek: for people and for programs."""
    assert cli.ok("queue", "list") == "No messages.\n"
    assert cli.ok("queue", "send", "orders", "-5") == "1\n"
    (tmp_path / "order.json").write_text('{"id": 17}')
    assert cli.json("queue", "send", "orders", f"@{tmp_path}/order.json", "--delay", "60") == {
        "id": "2",
        "queue": "orders",
    }
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe"))
    cli.ok("queue", "send", "mail", "-")
    assert cli.json("queue", "list") == [{"name": "mail", "messages": 1}, {"name": "orders", "messages": 2}]
    assert [line.split() for line in cli.ok("queue", "list").splitlines()[1:]] == [["mail", "1"], ["orders", "2"]]
    first, second = cli.json("queue", "peek", "orders")
    assert (first["body"], first["dequeueCount"], second["body"]) == ("-5", 0, '{"id": 17}')
    assert second["visibleAt"] > second["insertedAt"]
    assert "UTC" in cli.ok("queue", "peek", "orders").splitlines()[2]
    assert "UTC" not in cli.ok("queue", "peek", "orders", "--limit", "1")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("queue", "send", " ", "x"), Exit.USAGE, "A queue's name"),
        (("queue", "send", "q", "@no.txt"), Exit.USAGE, "no.txt"),
        (("queue", "send", "q", "x", "--delay", "1e12"), Exit.USAGE, "a hundred years"),
        (("show", "nobody"), Exit.NOT_FOUND, "There is no instance 'nobody'"),
        (("start", "gat"), Exit.USAGE, "Did you mean 'gate'?"),
        (("raise", "nobody", "Approval", "yes"), Exit.USAGE, "'\"yes\"'"),
        (("raise", "nobody", "Approval", "@no.json"), Exit.USAGE, "no.json"),
        (("raise", "nobody", "Approval"), Exit.NOT_FOUND, "nobody"),
        (("list", "--status", "Runing"), Exit.USAGE, "Running"),
        (("purge",), Exit.USAGE, "--yes"),
        (("waits", "--instance", "nobody"), Exit.NOT_FOUND, "nobody"),
        (("entity", "show", "@counter@nobody"), Exit.NOT_FOUND, "@counter@nobody"),
        (("entity", "show", "counter"), Exit.USAGE, "@name@key"),
        (("entity", "signal", "@conter@a", "add"), Exit.USAGE, "Did you mean 'counter'?"),
        (("list", "--url", "http://127.0.0.1:1"), Exit.USAGE, "not both"),
        (("replay", "--code", "."), Exit.USAGE, "is a folder"),
        (("replay", "--code", "no.py"), Exit.USAGE, "There is no file no.py"),
    ],
)
def test_mistakes(cli, arguments, code, words):
    """One line on standard error that names the thing and the way out; nothing on standard output."""
    got, out, err = cli(*arguments)
    assert (got, out) == (code, "")
    assert err.startswith("bide: ")
    assert words in err
    assert err.count("\n") == 1


def test_nodes(cli):
    """Who serves the hub."""
    assert "1 of 1" in cli.ok("nodes")
    assert json.loads(cli.ok("nodes", "--json"))["partitions"] == 1


def test_nobody_serves(bare):
    code, _, err = bare("show", "x", "--url", "http://127.0.0.1:1")
    assert code == Exit.UNREACHABLE
    assert "http://127.0.0.1:1" in err


def test_a_start_on_a_store_needs_the_app(bare, tmp_path):
    """A file is served by nobody else."""
    code, _, err = bare("start", "gate", "--store", f"sqlite:///{tmp_path}/new.db")
    assert code == Exit.USAGE
    assert "Name the app with --app app.py" in err


def test_a_folder_with_an_app_of_bide(bare, app_file):
    """It is no Functions app; the file is named that was meant."""
    app_file.rename(app_file.with_name("app.py"))
    code, _, err = bare("serve", str(app_file.parent))
    assert code == Exit.USAGE
    assert f"Did you mean: bide serve {app_file.with_name('app.py')}?" in err


def test_an_address_to_ask():
    """What listens on all addresses is asked on one."""
    assert own_address("0.0.0.0", 7071) == own_address("127.0.0.1", 7071) == "http://127.0.0.1:7071"
    assert own_address("::1", 7071) == "http://[::1]:7071"


def test_a_count_of_processes_that_cannot_be(bare, app_file):
    """0 is a count: then there are none."""
    assert bare("serve", str(app_file), "--activity-processes", "-1")[0] == Exit.USAGE


def test_a_store_that_cannot_be_used(bare, tmp_path):
    (tmp_path / "notes.txt").write_text("x" * 1000)
    code, _, err = bare("list", "--store", f"sqlite:///{tmp_path}/notes.txt")
    assert code == Exit.STORE
    assert "not an SQLite database" in err


def test_a_store_that_is_not_there_is_not_made_by_looking(bare, tmp_path):
    code, _, err = bare("list", "--store", f"sqlite:///{tmp_path}/typo.db")
    assert code == Exit.STORE
    assert "There is no file" in err
    assert not (tmp_path / "typo.db").exists()


def test_a_schema_that_is_not_there_is_not_made_by_looking(bare, postgres, schema):
    """Nor by a command that takes no app; with an app, the store may be new, as a file may."""
    store = postgres.url(schema)
    for command in (["list"], ["nodes"], ["raise", "g1", "Approval"], ["keys", "list"]):
        code, _, err = bare(*command, "--store", store)
        assert code == Exit.STORE
        assert "there is no such schema. Is the URL right?" in err
    assert "from schema 0" in bare.ok("db", "upgrade", store), "so there was none"
    assert bare.ok("list", "--store", store) == "No instances.\n"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "There is no bide.App in"),
        ("import bide\na = bide.App()\nb = bide.App()", "several apps (a, b); say which"),
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("import bide\napp = bide.App()\n@app.activity\ndef f(a, b): ...", "wants 2 arguments"),
        ("import bide\napp = bide.App()\n@app.orchestrator\ndef f(): ...", "must take the context"),
    ],
)
def test_apps_that_cannot_be_loaded(bare, tmp_path, source, words):
    """The file is named, and the user's own traceback is shown without ours."""
    path = tmp_path / "broken.py"
    path.write_text(source)
    code, _, err = bare("replay", "--code", str(path), "--store", "memory:")
    assert code == Exit.USAGE
    assert str(path) in err
    assert words in err
    assert "loading.py" not in err


def test_replay_holds_stored_histories_against_the_code(cli, app_file):
    """What differs is told, with exit code 1; then nothing has been changed."""
    cli.ok("start", "gate", "--id", "g1")
    code, out, _ = cli("replay", "--code", str(app_file))
    assert (code, out) == (0, "g1: as before\n")
    app_file.write_text(app_file.read_text().replace("timeout=86400", "timeout=None"))
    code, out, _ = cli("replay", "g1", "--code", str(app_file))
    assert code == Exit.FAILED
    assert "history holds a timer (#0), the code asked for nothing of the kind" in out
    assert cli.json("show", "g1")["runtimeStatus"] == "Running"
    app_file.write_text(app_file.read_text().replace('"Approval", timeout=None', '"Approved", timeout=86400'))
    code, out, _ = cli("replay", "g1", "--code", str(app_file))
    assert code == Exit.FAILED
    assert "It waits for 'approval'; today's code waits for 'Approved'" in out


def test_db_upgrade(bare, tmp_path):
    url = f"sqlite:///{tmp_path}/new.db"
    assert "There is no file" in bare("db", "upgrade", url)[2]
    (tmp_path / "new.db").touch()
    assert json.loads(bare.ok("db", "upgrade", url, "--json")) == {"store": url, "from": 0, "to": 2}
    assert "already has schema 2" in bare.ok("db", "upgrade", url)


def test_every_command_and_exit_code_is_documented():
    """docs/reference/cli.md has an example of each command, and a row for each code."""
    groups = {
        "db": ["upgrade", "check", "copy"],
        "entity": ["show", "signal"],
        "keys": ["list", "rotate"],
        "queue": ["send", "list", "peek"],
    }
    names = {name for name in commands if not name.startswith("-")} - groups.keys()
    names |= {f"{group} {name}" for group, members in groups.items() for name in members}
    assert names == set(re.findall(r"^\| ([a-z -]+) \| `bide", PAGE, re.MULTILINE))
    assert {str(int(code)) for code in Exit} == set(re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize("command", [name for name in commands if not name.startswith("-")])
def test_help(bare, command):
    """Each command explains itself and its parameters."""
    out = bare.ok(command, "--help")
    assert out.startswith("Usage: bide")
    assert "PARAMETERS" in out.upper() or "COMMANDS" in out.upper()
