"""Worker processes: activities that compute run in them, on other cores, and never hold the interpreter's lock of the hub.

A worker is a new interpreter (`python -m bide.runtime.processes`), never a fork: the hub has threads. It imports the
activity's module, takes one activity at a time over a socket, and tells the result and what was logged. A worker that dies
fails the activity that it ran, and no other; the next activity gets a new worker.
"""

from bide.runtime.processes.pool import ProcessPool, cores

__all__ = ["ProcessPool", "cores"]
