"""Which process a node is, and whether it has ended."""

import os
import subprocess
import sys

import pytest

from bide.runtime.identity import identity, is_dead

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


def test_a_process_that_has_ended_is_dead():
    """While it runs it is not, nor while it is stopped; a zombie is."""
    code = "from bide.runtime.identity import identity; print(identity(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        name = process.stdout.readline().strip()
        assert not is_dead(name)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(name)
    assert is_dead(name)


def test_of_others_nothing_is_known():
    """A process of another machine, or of before a restart, of another container, or without a name."""
    mine = identity()
    assert not is_dead(mine)
    assert not is_dead("")
    assert not is_dead(f"another/1 {os.getpid()} 1")


def test_an_id_that_was_given_again_is_another_process():
    here, pid, began = identity().split()
    assert is_dead(f"{here} {pid} {int(began) - 1}")
