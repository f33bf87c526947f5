"""Activities in worker processes: what they give, how they fail, and that they end with their hub."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engine.computing import app

import bide
from bide.app.importing import load_file
from bide.testing import Harness


@pytest.fixture
async def hub():
    async with bide.Hub(app, "memory:", activity_processes=2) as running:
        yield running


async def call(hub: bide.Hub, *arguments: object, by: str = "call"):
    instance_id = await hub.client.start_new(by, client_input=arguments)
    return (await hub.client.wait_for_completion(instance_id, timeout=30)).output


def wait_for_end_of(pid: int) -> None:
    """Wait until a child of ours has ended; its parent object can still wait for it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


# What they give


async def test_an_activity_runs_in_a_process_of_its_own(hub):
    """It is another one than the hub's, and stays for the next activity."""
    pid = await call(hub, "pid")
    assert pid != os.getpid()
    assert await call(hub, "pid") == pid


async def test_input_is_converted_and_results_are_bounded_as_on_threads(hub):
    assert await call(hub, "double", 4) == 8
    assert (await call(hub, "double", "4"))[0] == "msgspec.ValidationError"
    assert len(await call(hub, "text_of", 1_000_000)) == 1_000_000
    assert (await call(hub, "text_of", 2_000_000))[0] == "bide.errors.PayloadTooLargeError"


async def test_as_many_run_at_a_time_as_there_are_processes(hub, tmp_path):
    """Two activities that wait for each other both end."""
    fifos = [str(tmp_path / name) for name in ("a", "b")]
    for fifo in fifos:
        os.mkfifo(fifo)
    assert len(await call(hub, "meet", [fifos, fifos[::-1]], by="call_all")) == 2


async def test_many_activities_go_through_few_processes(hub):
    assert await call(hub, "double", list(range(500)), by="call_all") == [2 * number for number in range(500)]


async def test_logs_and_prints_come_out_where_the_hub_s_do(hub, caplog, capfd):
    """Records keep logger, level, place, process, trace and plain extras; what the hub's loggers do not want is not sent."""
    with caplog.at_level(logging.INFO):
        await call(hub, "speak", "hello")
    warning, error = (record for record in caplog.records if record.name == "computing")
    assert (warning.getMessage(), warning.funcName, warning.order) == ("hello, logged", "speak", 17)
    assert warning.process == await call(hub, "pid")
    assert error.exc_text.endswith("ValueError: inner")
    assert capfd.readouterr().out == "hello\n"


async def test_without_processes_they_run_on_threads():
    """In the harness too, unless it is told otherwise: a test may replace what they call."""
    async with bide.Hub(app, "memory:", activity_processes=0) as hub:
        assert await call(hub, "pid") == os.getpid()
    async with Harness(app) as harness:
        assert await call(harness.hub, "pid") == os.getpid()
    async with Harness(app, activity_processes=1) as harness:
        assert await call(harness.hub, "pid") != os.getpid()


async def test_any_search_path_will_do(hub, monkeypatch):
    """Also one that holds a Path, or a name that is not UTF-8."""
    monkeypatch.setattr(sys, "path", [*sys.path, Path("modules"), os.fsdecode(b"\xff")])
    assert isinstance(await call(hub, "pid"), int)


# How they fail


@pytest.mark.parametrize("how", ["exit code 3", "signal 9", "signal 11"])
async def test_a_worker_that_dies_fails_its_activity_and_no_other(hub, how, caplog):
    """The failure says how it died; the next activity has a new worker."""
    before = await call(hub, "pid")
    error_type, message = await call(hub, "end", how)
    assert error_type == "WorkerDiedError"
    assert "activity 'end'" in message
    assert how in message
    assert f"worker process {before}" in caplog.text
    assert await call(hub, "pid") != before


async def test_sys_exit_fails_the_activity_and_leaves_the_worker(hub):
    before = await call(hub, "pid")
    assert await call(hub, "end", "SystemExit") == ["SystemExit", "4"]
    assert await call(hub, "pid") == before


async def test_a_retry_policy_tries_again_after_a_death(hub, tmp_path):
    assert await call(hub, "end_the_first_time", str(tmp_path / "marker"), by="call_again") == "second"


async def test_a_worker_that_died_between_two_activities_is_replaced(hub):
    """Nothing fails: the activity had not begun."""
    before = await call(hub, "pid")
    os.kill(before, signal.SIGKILL)
    wait_for_end_of(before)
    assert isinstance(await call(hub, "pid"), int)


async def test_a_worker_s_death_is_seen_although_a_forked_child_lives_on(hub, tmp_path):
    path = tmp_path / "child"
    try:
        assert (await call(hub, "leave_a_child", str(path)))[0] == "WorkerDiedError"
    finally:
        os.kill(int(path.read_text()), signal.SIGKILL)


async def test_a_system_without_processes(hub, monkeypatch):
    """The activity fails with the system's words; the next one runs when there are processes again."""

    def refuse(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        assert (await call(hub, "pid"))[0] == "BlockingIOError"
    assert isinstance(await call(hub, "pid"), int)


async def test_a_module_that_no_longer_imports(tmp_path):
    """The activity fails with the reason; when the file has been mended, the next one runs."""
    path = tmp_path / "changing.py"
    good = (
        "import bide\napp = bide.App()\n"
        "@app.activity(process=True)\ndef one():\n    return 1\n"
        "@app.orchestrator\ndef call(context):\n    try:\n        return (yield context.call_activity('one'))\n"
        "    except bide.TaskFailedError as error:\n        return error.message\n"
    )
    path.write_text(good)
    async with bide.Hub(load_file(path, "changing").app, "memory:") as hub:
        path.write_text("raise RuntimeError('in the middle of a deployment')")
        message = await call(hub)
        assert "cannot import activity 'one'" in message
        assert "in the middle of a deployment" in message
        path.write_text(good)
        assert await call(hub) == 1


# How they end


async def test_a_hub_that_closes_ends_its_workers_at_once(tmp_path):
    """Also one that computes; its activity runs again at the next start."""
    fifo, store = tmp_path / "fifo", f"sqlite:///{tmp_path}/bide.db"
    os.mkfifo(fifo)
    async with bide.Hub(app, store) as hub:
        instance_id = await hub.client.start_new("call", client_input=["block_the_first_time", str(fifo)])
        pid = int(await asyncio.to_thread(fifo.read_text))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    fifo.unlink()
    fifo.touch()
    async with bide.Hub(app, store) as hub:
        assert (await hub.client.wait_for_completion(instance_id, timeout=30)).output == "again"


async def test_signals_for_the_group_do_not_end_workers(hub):
    """Ctrl+C, and a service manager that stops a service, reach them too; the hub decides."""
    pid = await call(hub, "pid")
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert await call(hub, "pid") == pid


def test_a_hub_that_is_killed_takes_its_workers_with_it(tmp_path):
    """All have ended when nobody holds the standard output any more."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = (
        "import asyncio, bide; from tests.engine.computing import app\n"
        "async def main():\n"
        "    async with bide.Hub(app, 'memory:') as hub:\n"
        f"        await hub.client.start_new('call', client_input=['block_the_first_time', {str(fifo)!r}])\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert int(fifo.read_text()) != process.pid
        process.kill()
        assert process.stdout is not None
        assert process.stdout.read() == b""


# Where they come from

PROGRAM = """
import asyncio
import bide

app = bide.App()

@app.activity(process=True)
def compute(number: int):
    return [number, __name__]

@app.orchestrator
def main(context):
    try:
        return (yield context.call_activity(compute, 7))
    except bide.TaskFailedError as error:
        return error.message

async def run():
    async with bide.Hub(app, "memory:") as hub:
        print((await hub.client.wait_for_completion(await hub.client.start_new(main))).output)

"""
START = "asyncio.run(run())"


@pytest.mark.parametrize(
    ("file", "arguments", "said"),
    [
        ("a_script.py", ["a_script.py"], "[7, 'a_script']"),
        ("odd-name.py", ["odd-name.py"], "[7, 'odd-name']"),
        ("package/program.py", ["-m", "package.program"], "[7, 'package.program']"),
        ("package/__main__.py", ["-m", "package"], "[7, 'package.__main__']"),
    ],
)
def test_a_program_may_define_them_itself(tmp_path, file, arguments, said):
    """As a script or with -m; workers import it under its name, and do not run what only the program is to run."""
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{PROGRAM}if __name__ == '__main__':\n    {START}\n")
    assert run(tmp_path, *arguments).strip() == said


def test_a_program_that_starts_its_hub_when_it_is_imported(tmp_path):
    """It is told what to write; no worker starts workers."""
    (tmp_path / "unguarded.py").write_text(f"{PROGRAM}{START}\n")
    said = run(tmp_path, "unguarded.py")
    assert "below: if __name__ == '__main__':" in said


def test_the_module_of_a_file_may_have_a_name_that_python_uses_too(tmp_path):
    """As with `bide serve colorsys.py`: workers load the file, not the standard library's module."""
    (tmp_path / "colorsys.py").write_text(PROGRAM)
    (tmp_path / "socket.py").write_text("raise RuntimeError('beside the app, and no business of the workers')")
    load = "from bide.cli.loading import load_app; import asyncio, sys; load_app('colorsys.py')"
    said = run(tmp_path, "-P", "-c", f"{load}; asyncio.run(sys.modules['colorsys'].run())")
    assert said.strip() == "[7, 'colorsys']"


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=40, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# What cannot be one


def test_what_a_worker_could_not_import_is_refused_when_it_is_registered():
    other = bide.App()

    def nested(): ...

    with pytest.raises(bide.ConfigurationError, match=r"'.*nested' .* inside another function"):
        other.activity(process=True)(nested)
    with pytest.raises(bide.ConfigurationError, match="without a name"):
        other.activity(name="x", process=True)(eval("lambda value: value"))
    assert not other.activities


def test_a_coroutine_function_is_refused():
    async def waits(): ...

    with pytest.raises(bide.ConfigurationError, match="write 'def', or leave process out"):
        bide.App().activity(process=True)(waits)


def test_an_interactive_session_is_told_to_use_a_module():
    code = "import bide\napp = bide.App()\n@app.activity(process=True)\ndef compute(): ..."
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert "ConfigurationError: Activity 'compute'" in done.stderr
    assert "defined in an interactive session. Put it into a module" in done.stderr


async def test_a_name_that_is_something_else_is_refused_when_the_hub_starts(tmp_path):
    """A decorator above @app.activity leaves something else under the name that workers would look for."""
    path = tmp_path / "wrapped.py"
    path.write_text(
        "import functools, bide\napp = bide.App()\n"
        "@functools.lru_cache\n@app.activity(process=True)\ndef compute():\n    return 1\n"
    )
    hub = bide.Hub(load_file(path, "wrapped").app, "memory:")
    with pytest.raises(bide.ConfigurationError, match=r"wrapped\.compute is something else"):
        await hub.start()


async def test_a_number_of_processes_that_makes_no_sense():
    with pytest.raises(bide.ConfigurationError, match="must be 1 or more, not -1"):
        await bide.Hub(app, "memory:", activity_processes=-1).start()
