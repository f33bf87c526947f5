"""The comparison with other engines, without any of them installed."""

import asyncio
import sys

import pytest
from bench.peers import __main__ as command
from bench.peers import environments, table, trials
from bench.peers.connection import Connections
from bench.peers.contestants import BY_KEY, Contestant, Kind, with_ours
from bench.peers.engine import Place, Scale
from bench.peers.engines import bide_embedded
from bench.peers.measuring import Bench, FailedTrialError, Result

BIDE, DBOS, RESTATE = BY_KEY["bide"], BY_KEY["dbos-sqlite"], BY_KEY["restate"]
TINY = Scale(approvals=3, singles=3, parked=25, events=5, chains=1, chains_together=2, fan_outs=1)


@pytest.fixture
def nothing_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "ROOT", tmp_path)


def test_all_by_default():
    """Without options every peer and every workload is measured."""
    options = command.parsed([])
    assert options.peers == [key for key, each in BY_KEY.items() if not each.is_ours]
    assert options.workloads == ["W1", "W2", "W3", "W4", "W5", "W6"]


def test_chosen():
    """Peers and workloads can be chosen, and a PostgreSQL server named."""
    options = command.parsed(["--peers", "restate", "--workloads", "W1", "W4", "--postgres", "postgresql://db/x"])
    assert (options.peers, options.workloads, options.postgres) == (["restate"], ["W1", "W4"], "postgresql://db/x")


def test_unknown_peer(capsys):
    """A peer that there is not is refused with the names of those that there are."""
    with pytest.raises(SystemExit):
        command.parsed(["--peers", "temporal"])
    assert "restate" in capsys.readouterr().err


def test_like_with_like():
    """A peer is measured beside that of ours which is reached and stores in the same way."""
    assert with_ours([RESTATE]) == [BY_KEY["bide-http"], RESTATE]
    assert with_ours([DBOS, BIDE]) == [BIDE, DBOS]


def test_table():
    """A table shows the limit, ours, and each peer's figures with how many times as good ours are."""
    results = {
        BIDE: Result("1.0", figures={"W1": {"rate": 12_000.0}, "W2": {"p50": 0.5}}),
        DBOS: Result("3.4", figures={"W1": {"rate": 60.0}, "W2": {"p50": 10.0}}),
    }
    shown = table.tables(results, {Kind.EMBEDDED: "6,000 commits/s"}, ["W1", "W2"])
    assert "The machine by itself: 6,000 commits/s." in shown
    lines = [line for line in shown.splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == [
        ["", "bide 1.0", "DBOS 3.4"],
        ["W1: approvals, 64 in flight", "12,000/s", "60/s (200x)"],
        ["W2: raise to result, p50", "0.5 ms", "10 ms (20x)"],
    ]
    assert table.ahead(results) == []


def test_peer_ahead():
    """A figure in which a peer is better is said, whether more or less of it is better."""
    results = {
        BIDE: Result("1.0", figures={"W3": {"bytes": 400.0, "restart": 9.0, "parked": 10.0}, "W6": {"rate": 500.0}}),
        DBOS: Result("3.4", figures={"W3": {"bytes": 300.0, "restart": 90.0, "parked": 10.0}, "W6": {"rate": 1000.0}}),
    }
    assert table.ahead(results) == [
        "DBOS 3.4 is ahead in W3: disk of one parked: 300 B, ours 400 B",
        "DBOS 3.4 is ahead in W6: fan-out of 1,000: 1,000/s, ours 500/s",
    ]


def test_no_figure():
    """A workload that failed says so in the table; one that makes no sense for a peer is a dash; no ratio is made up."""
    results = {
        BIDE: Result(failures={"W1": "no"}),
        DBOS: Result(figures={"W1": {"rate": 60.0}}),
        BY_KEY["durabletask"]: Result(figures={"W1": {"rate": 70.0}}),
    }
    *_, approvals, restart, _ = table.tables(results, {Kind.EMBEDDED: "-"}, ["W1", "W3"]).splitlines()
    assert [cell.strip() for cell in approvals.split("|")[2:-1]] == ["failed", "60/s", "70/s"]
    assert [cell.strip() for cell in restart.split("|")[2:-1]] == ["-", "-", "-"]


@pytest.mark.usefixtures("nothing_installed")
def test_missing_peer(capsys):
    """A peer that is not installed is named with the way out, and the others go on."""
    described = command._described(Bench(None, install=False), [BIDE, RESTATE])
    assert list(described) == [BIDE]
    assert "restate is left out. restate is not installed in" in (said := capsys.readouterr().err)
    assert "run again without --no-install" in said


def test_failure():
    """A workload whose process fails is an error that says what the process said last."""
    stranger = Contestant("stranger", "Stranger", Kind.EMBEDDED, "stranger")
    with pytest.raises(FailedTrialError, match=r"No module named 'bench\.peers\.engines\.stranger'"):
        Bench(None, install=False).measure(stranger, "W1")


def test_rounds(monkeypatch):
    """What was measured in several rounds is shown as medians; a workload that fails leaves the others as they are."""

    class Scripted:
        rates = iter([100.0, 300.0, 200.0])

        def measure(self, contestant, workload):
            if contestant is DBOS:
                raise FailedTrialError("no such database")
            return {"rate": next(self.rates)}

    monkeypatch.setattr(command.machine, "limits", lambda _, __: {"sqlite": 6_000.0})
    results = {BIDE: Result(), DBOS: Result()}
    limits = command._rounds(Scripted(), results, None, command.parsed(["--workloads", "W1", "--repeat", "3"]))
    assert limits == {"sqlite": 6_000.0}
    assert results[BIDE].figures == {"W1": {"rate": 200.0}}
    assert results[DBOS] == Result(failures={"W1": "no such database"})


def test_not_durable():
    """What lives in memory has no figures for a restart."""
    assert Bench(None, install=False).measure(BY_KEY["durabletask"], "W3") == {}


@pytest.mark.parametrize("workload", ["W1", "W2", "W4", "W5", "W6"])
async def test_trials(workload, tmp_path):
    """Every workload runs to its end on ours, and its figures are those that the table shows."""
    place = Place(tmp_path, f"sqlite:///{tmp_path}/bench.db")
    figures = await trials.TRIALS[workload](bide_embedded.opened, place, TINY)
    assert {each.figure for each in table.COLUMNS if each.workload == workload} <= set(figures)
    assert all(value > 0 for value in figures.values())


async def test_restart(tmp_path):
    """Parked instances outlive the kill of their process, and complete in the next."""
    place = Place(tmp_path, f"sqlite:///{tmp_path}/bench.db")
    program = (
        "import asyncio, pathlib; from bench.peers import trials; from bench.peers.engine import Place, Scale; "
        "from bench.peers.engines import bide_embedded as e; "
        f"asyncio.run(trials.park(e.opened, Place(pathlib.Path({str(tmp_path)!r}), {place.url!r}), {TINY}))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == -9
    figures = await trials.restart(bide_embedded.opened, place, TINY)
    assert figures["parked"] == 25


async def test_connection():
    """The client of servers reads bodies of a length, bodies in chunks and answers without one, and keeps connections."""
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ]
    asked = []

    async def serve(reader, writer):
        for answer in answers:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        connections = Connections(server.sockets[0].getsockname()[1])
        got = [await connections.request("GET", f"/{number}") for number in range(3)]
        await connections.close()
    assert got == [(200, b"hello"), (202, b"hello"), (204, b"")]
    assert [each.split()[1] for each in asked] == [b"/0", b"/1", b"/2"]
