"""Activities for worker processes, which import this module."""

import ctypes
import logging
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import bide

app = bide.App()
_log = logging.getLogger("computing")


@app.orchestrator
def call(context):
    """Call an activity; the input is its name and its input. Return its result, or how it failed."""
    try:
        return (yield context.call_activity(*context.get_input()))
    except bide.TaskFailedError as error:
        return [error.error_type, error.message]


@app.orchestrator
def call_all(context):
    name, inputs = context.get_input()
    return (yield context.task_all([context.call_activity(name, each) for each in inputs]))


@app.orchestrator
def call_again(context):
    retry = bide.RetryOptions(timedelta(milliseconds=1), max_number_of_attempts=2)
    return (yield context.call_activity(*context.get_input(), retry=retry))


@app.activity(process=True)
def pid():
    return os.getpid()


@app.activity(process=True)
def double(number: int):
    return number * 2


@app.activity(process=True)
def text_of(size: int):
    return "x" * size


@app.activity(process=True)
def end(how: str):
    match how:
        case "exit code 3":
            os._exit(3)
        case "signal 9":
            os.kill(os.getpid(), signal.SIGKILL)
        case "signal 11":
            ctypes.string_at(0)
        case "SystemExit":
            sys.exit(4)


@app.activity(process=True)
def end_the_first_time(marker: str):
    path = Path(marker)
    if not path.exists():
        path.touch()
        os._exit(1)
    return "second"


@app.activity(process=True)
def block_the_first_time(fifo: str):
    """Say the process id into a pipe and compute for ever; later, when the pipe is a plain file, return."""
    path = Path(fifo)
    if path.is_fifo():
        path.write_text(str(os.getpid()))
        while True:
            pass
    return "again"


@app.activity(process=True)
def meet(fifos: list[str]):
    """Write one pipe and read the other: ends when another process does the opposite at the same time."""
    mine, other = map(Path, fifos)
    if mine < other:
        mine.write_text("x")
        return other.read_text()
    other.read_text()
    return mine.write_text("y")


@app.activity(process=True)
def leave_a_child(path: str):
    """End while a forked child lives on."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    Path(path).write_text(str(child))
    os._exit(5)


@app.activity(process=True)
def speak(text: str):
    print(text)
    _log.debug("not asked for")
    _log.warning("%s, logged", text, extra={"order": 17, "thing": object()})
    try:
        raise ValueError("inner")
    except ValueError:
        _log.exception("with a trace")
