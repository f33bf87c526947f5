"""Settings of the interpreter that suit a running hub. They belong to the process, and are restored after its last hub.

The loop and the writer thread each give up the GIL a few times a batch. While another thread computes (a CPU-bound
activity, the user's own code) they get it back only after the interpreter's switch interval, 5 ms by default: measured,
1,500 instances a second instead of 12,000. A tenth of a millisecond gives 5,000, and costs the busy thread next to nothing.

Instances are many small objects that live long. By default the garbage collector looks after every 700 of them, finds none
that is garbage, and now and then looks through them all: a seventh of the loop's time. With 10,000 it hardly counts.
"""

import gc
import sys

SWITCH_INTERVAL = 1e-4
GC_THRESHOLD = 10_000

_running = 0
_interval_before = 0.0
_threshold_before = (0, 0, 0)


def tune_interpreter() -> None:
    """Call `restore_interpreter` once for each call of this. What suits already is left alone."""
    global _running, _interval_before, _threshold_before  # noqa: PLW0603  (the settings are global, and so is who asked for them)
    if _running == 0:
        _interval_before, _threshold_before = sys.getswitchinterval(), gc.get_threshold()
        sys.setswitchinterval(min(_interval_before, SWITCH_INTERVAL))
        youngest, *older = _threshold_before
        if youngest > 0:  # 0: somebody has switched it off
            gc.set_threshold(max(youngest, GC_THRESHOLD), *older)
    _running += 1


def restore_interpreter() -> None:
    global _running  # noqa: PLW0603
    _running -= 1
    if _running == 0:
        sys.setswitchinterval(_interval_before)
        gc.set_threshold(*_threshold_before)
