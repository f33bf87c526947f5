"""Runs activities: plain functions on threads, coroutines on the event loop.

Each runs at least once. What it returns, or raises, goes back to the partition as `TaskDone`. Results of threads
are handed to the loop in batches: one wake-up for all that are there, however many finish meanwhile.
"""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from queue import SimpleQueue
from typing import Any

from bide.app import Activity
from bide.model.codec import encode_payload
from bide.model.events import TaskScheduled
from bide.model.failure import FailureDetails, failure_of
from bide.model.messages import TaskDone

_log = logging.getLogger("bide.activities")

TaskKey = tuple[str, str, int]
"""Instance id, execution id, task id."""
_Job = tuple[TaskKey, Activity, TaskScheduled]


class ActivityRunner:
    """Runs activities; `threads` bounds how many plain functions run at a time (coroutines are not bounded)."""

    def __init__(
        self,
        activities: Mapping[str, Activity],
        post: Callable[[TaskDone], None],
        *,
        threads: int,
        limit: int,
    ) -> None:
        """`activities` are those registered, by name; `post` takes the results; `limit` is the largest result in bytes."""
        self._activities = activities
        self._post = post
        self._limit = limit
        self._max_threads = threads
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._submitted = self._flushed = 0
        self._finished: deque[TaskDone] = deque()
        self._is_flush_due = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: set[TaskKey] = set()
        self._loop = asyncio.get_running_loop()

    def start(self, instance_id: str, execution_id: str, task: TaskScheduled) -> None:
        """Run the activity, unless it is running already. One that nobody registered fails."""
        key = (instance_id, execution_id, task.task_id)
        if key in self._running:
            return
        self._running.add(key)
        activity = self._activities.get(task.name)
        if activity is None:
            self._done(_unknown(key, task.name, self._activities))
        elif activity.is_async:
            job = self._loop.create_task(self._run_async(key, activity, task))
            self._tasks.add(job)
            job.add_done_callback(self._tasks.discard)
        else:
            self._run_in_thread((key, activity, task))

    @property
    def is_idle(self) -> bool:
        return not self._running

    def is_running(self, instance_id: str, execution_id: str, task_id: int) -> bool:
        """Whether the activity runs, or its result is not stored yet."""
        return (instance_id, execution_id, task_id) in self._running

    def forget(self, message: TaskDone) -> None:
        """The result has been stored (or dropped for good): the activity may be started again if asked for."""
        self._running.discard((message.instance_id, message.execution_id, message.task_id))

    async def close(self) -> None:
        """Cancel coroutines and let threads end after what they are doing; their results are not waited for."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in self._threads:
            self._jobs.put(None)

    def _run_in_thread(self, job: _Job) -> None:
        self._jobs.put(job)
        self._submitted += 1
        busy = self._submitted - self._flushed - len(self._finished)
        if busy > len(self._threads) and len(self._threads) < self._max_threads:
            thread = threading.Thread(target=self._work, name=f"bide-activity-{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no more of them: the job waits for one that is there
                _log.warning("cannot run more activities at a time than %d: %s", len(self._threads), error)
            else:
                self._threads.append(thread)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            key, activity, task = job
            self._finished.append(self._call(key, activity, task))
            if not self._is_flush_due:
                self._is_flush_due = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants the result
                    self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        while self._finished:
            self._flushed += 1
            self._post(self._finished.popleft())

    def _call(self, key: TaskKey, activity: Activity, task: TaskScheduled) -> TaskDone:
        try:
            return self._result(key, activity, activity.function(*activity.arguments(task.input)))
        except BaseException as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the task)
            return _failed(key, activity.name, error)

    async def _run_async(self, key: TaskKey, activity: Activity, task: TaskScheduled) -> None:
        try:
            message = self._result(key, activity, await activity.function(*activity.arguments(task.input)))
        except asyncio.CancelledError:
            if self._loop.is_running() and not _is_cancelling():
                self._done(_failed(key, activity.name, RuntimeError("the activity was cancelled from within")))
                return
            raise  # the hub is closing: the activity runs again at the next start
        except BaseException as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the task)
            message = _failed(key, activity.name, error)
        self._done(message)

    def _result(self, key: TaskKey, activity: Activity, value: Any) -> TaskDone:
        text = encode_payload(value, f"The result of activity {activity.name!r}", self._limit)
        return TaskDone(instance_id=key[0], execution_id=key[1], task_id=key[2], result=text)

    def _done(self, message: TaskDone) -> None:
        self._post(message)


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _failed(key: TaskKey, name: str, error: BaseException) -> TaskDone:
    trace = error.__traceback__
    error = error.with_traceback(trace.tb_next if trace is not None else None)  # without our own frame
    _log.info("activity %s of %s failed: %s", name, key[0], type(error).__name__)
    return TaskDone(instance_id=key[0], execution_id=key[1], task_id=key[2], failure=failure_of(error))


def _unknown(key: TaskKey, name: str, known: Iterable[str]) -> TaskDone:
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    failure = FailureDetails("ActivityNotFoundError", f"No activity is named {name!r}{hint}", is_non_retriable=True)
    return TaskDone(instance_id=key[0], execution_id=key[1], task_id=key[2], failure=failure)
