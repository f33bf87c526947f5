"""Runs user code outside of the loop's turns: plain functions on threads, coroutines on the event loop.

A job runs at least once, and under its key one at a time. The message it gives goes to the partition.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from bide.core.turn import Job
from bide.model.events import TaskScheduled
from bide.model.messages import EntityBatchDone, TaskDone
from bide.runtime.threads import ThreadPool

MAX_COROUTINES = 1024
"""So many run at a time before a node of a cluster leaves activities to others."""

JobKey = tuple[str, str, int]
"""Instance id, execution id, task id."""
JobResult = TaskDone | EntityBatchDone


class Executor(Protocol):
    """Runs tasks of one kind; there is one for all of them. Whatever the user's code raises must come out as a message."""

    def is_async(self, task: Any, /) -> bool: ...

    def run(self, key: JobKey, task: Any, /) -> JobResult:
        """Run in a thread."""
        ...

    def run_async(self, key: JobKey, task: Any, /) -> Coroutine[Any, Any, JobResult]:
        """Run on the event loop."""
        ...


class _Limit:
    """How many activities of a name run, and which wait."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[JobKey] = deque()

    def admits(self, key: JobKey) -> bool:
        """Whether it may run now; else it waits."""
        if self._free == 0:
            self._waiting.append(key)
            return False
        self._free -= 1
        return True

    def next(self) -> JobKey | None:
        """One has ended: which runs instead."""
        if self._waiting:
            return self._waiting.popleft()
        self._free += 1
        return None


class JobRunner:
    """Runs jobs; `threads` bounds how many plain functions run at a time (coroutines are not bounded)."""

    def __init__(
        self,
        executors: Mapping[type[Any], Executor],
        post: Callable[[JobResult], None],
        *,
        threads: int,
        limits: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`executors` are who runs which class of tasks; `post` takes the results.

        `limits` bound how many activities of a name run at a time; the others wait in order.
        """
        self._executors = executors
        self._post = post
        self._threads: ThreadPool[JobResult] = ThreadPool("bide-activity", threads, self._give)
        self._is_closing = False
        self._tasks: set[asyncio.Task[JobResult]] = set()
        self._running: dict[JobKey, Job] = {}
        self._queues = {name: _Limit(limit) for name, limit in limits.items()}
        self._loop = asyncio.get_running_loop()
        self.on_room: Callable[[], None] | None = None
        """Called when something has ended, and more may be started."""

    def start(self, instance_id: str, execution_id: str, task: Job) -> None:
        """Run the task, unless it is running already."""
        key = (instance_id, execution_id, task.task_id)
        if self._is_closing or key in self._running:
            return
        self._running[key] = task
        queue = self._queues.get(task.name) if self._queues and isinstance(task, TaskScheduled) else None
        if queue is None or queue.admits(key):
            self._launch(key, task)

    def _launch(self, key: JobKey, task: Job) -> None:
        executor = self._executors[type(task)]
        if executor.is_async(task):
            running = self._loop.create_task(executor.run_async(key, task))
            self._tasks.add(running)
            running.add_done_callback(self._on_done)
        else:
            self._threads.submit(partial(executor.run, key, task))

    @property
    def is_idle(self) -> bool:
        return not self._running

    @property
    def running(self) -> list[tuple[JobKey, Job]]:
        """What runs, or has run and is not stored yet."""
        return list(self._running.items())

    def coroutine_room(self) -> int:
        """How many more coroutines may be started before a node of a cluster leaves them to others."""
        return MAX_COROUTINES - len(self._tasks)

    def thread_room(self) -> int:
        """How many more plain functions may be started before they would only wait."""
        return self._threads.room

    def is_running(self, instance_id: str, execution_id: str, task_id: int) -> bool:
        """Whether the task runs, or its result is not stored yet."""
        return (instance_id, execution_id, task_id) in self._running

    def forget(self, message: JobResult) -> None:
        """The result has been stored (or dropped for good): the task may be started again if asked for."""
        self._running.pop((message.instance_id, message.execution_id, message.task_id), None)
        if self.on_room is not None:
            self.on_room()

    async def close(self) -> None:
        """Cancel coroutines and let threads end after what they are doing; their results are not waited for.

        What has not begun does not begin any more: it runs at the next start.
        """
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.close()

    def _give(self, result: JobResult) -> None:
        """Hand a result over. What fails while the hub closes may have failed because of that: it is run again."""
        if self._queues:
            self._start_next(result)
        if not (self._is_closing and isinstance(result, TaskDone) and result.failure is not None):
            self._post(result)

    def _start_next(self, ended: JobResult) -> None:
        """Start an activity that has waited for one of its name to end."""
        task = self._running.get((ended.instance_id, ended.execution_id, ended.task_id))
        queue = self._queues.get(task.name) if isinstance(task, TaskScheduled) else None
        following = queue.next() if queue is not None else None
        if following is not None and not self._is_closing:
            self._launch(following, self._running[following])

    def _on_done(self, running: asyncio.Task[JobResult]) -> None:
        self._tasks.discard(running)
        if not running.cancelled():  # else the hub is closing
            self._give(running.result())


def is_closing() -> bool:
    """Whether a CancelledError is the hub's, that closes, and not one from within the user's code."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def without_our_frame(error: BaseException) -> BaseException:
    trace = error.__traceback__
    return error.with_traceback(trace.tb_next if trace is not None else None)
