"""Worker processes, and a thread of the hub for each that is busy: it sends, and sleeps until the worker has an answer."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Iterable

from bide.app import Activity
from bide.errors import ConfigurationError
from bide.model.events import TaskScheduled
from bide.model.failure import FailureDetails, failure_of
from bide.model.messages import TaskDone
from bide.runtime.jobs import JobKey
from bide.runtime.processes.channel import Setup
from bide.runtime.processes.process import WorkerDiedError, WorkerProcess
from bide.runtime.threads import ThreadPool

_log = logging.getLogger("bide.processes")

_GRACE_SECONDS = 2

_Future = asyncio.Future[TaskDone]


def cores() -> int:
    """How many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ProcessPool:
    """Runs activities in worker processes, which start when they are needed and stay.

    An activity whose worker dies fails with `WorkerDiedError`, which a retry policy may try again. It is not simply run once
    more: what it does may be what kills its worker, and then would for ever.
    """

    def __init__(self, activities: Iterable[Activity], *, processes: int, limit: int) -> None:
        """`processes` is the largest number of them, `limit` of bytes of a result.

        Raises `ConfigurationError` when a worker could not import an activity.
        """
        if processes < 1:
            raise ConfigurationError(f"activity_processes must be 1 or more, not {processes}.")
        self._places = {activity.name: activity.place for activity in activities}
        self._limit = limit
        self._threads: ThreadPool[tuple[_Future, TaskDone]] = ThreadPool("bide-process", processes, _settle)
        self._lock = threading.Lock()
        self._workers: set[WorkerProcess] = set()
        self._free: list[WorkerProcess] = []
        self._is_closed = False

    def run(self, key: JobKey, task: TaskScheduled) -> _Future:
        """Run an activity; the future never fails."""
        done = asyncio.get_running_loop().create_future()
        self._threads.submit(lambda: (done, self._call(key, task)))
        return done

    def room(self) -> int:
        """How many more activities may be started before they would only wait."""
        return self._threads.room

    async def close(self) -> None:
        """End the workers, also those that are busy: their activities run again at the next start."""
        self._threads.close()
        with self._lock:
            self._is_closed = True
            workers = list(self._workers)
        for worker in workers:
            worker.hang_up()
        await asyncio.gather(*(asyncio.to_thread(worker.wait, _GRACE_SECONDS) for worker in workers))

    def _call(self, key: JobKey, task: TaskScheduled) -> TaskDone:
        try:
            worker = self._take()
            try:
                done = worker.call(key, task)
            except WorkerDiedError as error:
                return self._died(worker, key, task, error)
        except OSError as error:  # no more processes, memory or files
            return _failed(key, failure_of(error))
        with self._lock:
            self._free.append(worker)
        return done

    def _take(self) -> WorkerProcess:
        """Take a worker that is free and alive, the last one used, or start one."""
        with self._lock:
            while self._free:
                worker = self._free.pop()
                if worker.is_alive:
                    return worker
                _log.warning("worker process %d has ended between two activities", worker.pid)
                self._forget(worker)
            if self._is_closed:
                raise OSError("the hub is closing")
            worker = WorkerProcess(self._setup())
            self._workers.add(worker)
            return worker

    def _setup(self) -> Setup:
        loggers = (logging.root, *logging.root.manager.loggerDict.values())
        levels = {each.name: each.level for each in loggers if isinstance(each, logging.Logger) and each.level}
        return Setup([os.fsencode(entry) for entry in sys.path], levels, self._places, self._limit)

    def _died(self, worker: WorkerProcess, key: JobKey, task: TaskScheduled, error: WorkerDiedError) -> TaskDone:
        with self._lock:
            self._forget(worker)
        if not self._is_closed:
            _log.error("worker process %d %s while it ran activity %s of %s", worker.pid, error, task.name, key[0])
        message = f"The worker process that ran activity {task.name!r} {error}."
        return _failed(key, FailureDetails(WorkerDiedError.__name__, message))

    def _forget(self, worker: WorkerProcess) -> None:
        worker.wait(0)
        self._workers.discard(worker)


def _settle(ended: tuple[_Future, TaskDone]) -> None:
    future, done = ended
    if not future.done():  # else the hub is closing
        future.set_result(done)


def _failed(key: JobKey, failure: FailureDetails) -> TaskDone:
    return TaskDone(instance_id=key[0], execution_id=key[1], task_id=key[2], failure=failure)
