"""Keeps busy Python threads from starving the engine.

The loop and the writer thread each give up the GIL a few times a batch. While another thread computes (a CPU-bound
activity, the user's own code) they get it back only after the interpreter's switch interval, 5 ms by default: measured,
1,500 instances a second instead of 12,000. A tenth of a millisecond gives 5,000, and costs the busy thread next to nothing.
The setting belongs to the process: it is lowered while a hub runs, and restored after the last one.
"""

import sys

SWITCH_INTERVAL = 1e-4

_running = 0
_before = 0.0


def lower_switch_interval() -> None:
    """Call `restore_switch_interval` once for each call of this. An interval that is shorter already is left alone."""
    global _running, _before  # noqa: PLW0603  (the interpreter's setting is global, and so is who asked for it)
    if _running == 0:
        _before = sys.getswitchinterval()
        sys.setswitchinterval(min(_before, SWITCH_INTERVAL))
    _running += 1


def restore_switch_interval() -> None:
    global _running  # noqa: PLW0603
    _running -= 1
    if _running == 0:
        sys.setswitchinterval(_before)
