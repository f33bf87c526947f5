"""Runs activities. What one returns, or raises, goes back to its instance as `TaskDone`."""

import asyncio
import logging
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Protocol

from bide.app import Activity
from bide.model.codec import encode_payload
from bide.model.events import TaskScheduled
from bide.model.failure import FailureDetails, failure_of
from bide.model.messages import TaskDone
from bide.runtime.jobs import JobKey, is_closing, without_our_frame

_log = logging.getLogger("bide.activities")


class Processes(Protocol):
    """Runs activities in other processes."""

    def run(self, key: JobKey, task: TaskScheduled, /) -> "asyncio.Future[TaskDone]": ...


class ActivityExecutor:
    """An `Executor`. An activity that nobody registered fails."""

    def __init__(self, activities: Mapping[str, Activity], limit: int, processes: Processes | None = None) -> None:
        """`activities` are those registered, by name; `limit` is the largest result in bytes.

        `processes` run those that want one; without, they run here like any other.
        """
        self._activities = activities
        self._limit = limit
        self._processes = processes

    def is_async(self, task: TaskScheduled) -> bool:
        activity = self._activities.get(task.name)
        if activity is None or activity.is_async:
            return True
        return activity.wants_process and self._processes is not None

    def run(self, key: JobKey, task: TaskScheduled) -> TaskDone:
        activity = self._activities[task.name]
        try:
            return self._completed(key, task, activity.function(*activity.arguments(task.input)))
        except BaseException as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the task)
            return _failed(key, task, error)

    async def run_async(self, key: JobKey, task: TaskScheduled) -> TaskDone:
        activity = self._activities.get(task.name)
        if activity is None:
            return _failure(key, _unknown(task.name, self._activities))
        if activity.wants_process and self._processes is not None:
            return await self._processes.run(key, task)
        try:
            return self._completed(key, task, await activity.function(*activity.arguments(task.input)))
        except asyncio.CancelledError:
            if is_closing():
                raise  # the activity runs again at the next start
            return _failed(key, task, RuntimeError("the activity was cancelled from within"))
        except BaseException as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the task)
            return _failed(key, task, error)

    def _completed(self, key: JobKey, task: TaskScheduled, value: Any) -> TaskDone:
        text = encode_payload(value, f"The result of activity {task.name!r}", self._limit)
        return TaskDone(instance_id=key[0], execution_id=key[1], task_id=key[2], result=text)


def _failed(key: JobKey, task: TaskScheduled, error: BaseException) -> TaskDone:
    _log.info("activity %s of %s failed: %s", task.name, key[0], type(error).__name__)
    return _failure(key, failure_of(without_our_frame(error)))


def _failure(key: JobKey, failure: FailureDetails) -> TaskDone:
    return TaskDone(instance_id=key[0], execution_id=key[1], task_id=key[2], failure=failure)


def _unknown(name: str, known: Mapping[str, Activity]) -> FailureDetails:
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return FailureDetails("ActivityNotFoundError", f"No activity is named {name!r}{hint}", is_non_retriable=True)
