"""Runs an activity. What it returns, or raises, goes back to its instance as `TaskDone`."""

import asyncio
import logging
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from bide.app import Activity
from bide.model.codec import encode_payload
from bide.model.events import TaskScheduled
from bide.model.failure import FailureDetails, failure_of
from bide.model.messages import TaskDone
from bide.runtime.jobs import JobKey, is_closing, without_our_frame

_log = logging.getLogger("bide.activities")


class ActivityJob:
    """A `Job`. An activity that nobody registered fails."""

    __slots__ = ("_activities", "_activity", "_key", "_limit", "_task", "is_async")

    def __init__(self, key: JobKey, task: TaskScheduled, activities: Mapping[str, Activity], limit: int) -> None:
        """`activities` are those registered, by name; `limit` is the largest result in bytes."""
        self._key = key
        self._task = task
        self._activities = activities
        self._activity = activities.get(task.name)
        self._limit = limit
        self.is_async = self._activity is None or self._activity.is_async

    def run(self) -> TaskDone:
        activity = self._known()
        try:
            return self._completed(activity.function(*activity.arguments(self._task.input)))
        except BaseException as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the task)
            return self._failed(error)

    async def run_async(self) -> TaskDone:
        if self._activity is None:
            return self._done(failure=_unknown(self._task.name, self._activities))
        activity = self._activity
        try:
            return self._completed(await activity.function(*activity.arguments(self._task.input)))
        except asyncio.CancelledError:
            if is_closing():
                raise  # the activity runs again at the next start
            return self._failed(RuntimeError("the activity was cancelled from within"))
        except BaseException as error:  # noqa: BLE001  (the border to user code: whatever it raises fails the task)
            return self._failed(error)

    def _known(self) -> Activity:
        assert self._activity is not None
        return self._activity

    def _completed(self, value: Any) -> TaskDone:
        return self._done(encode_payload(value, f"The result of activity {self._task.name!r}", self._limit))

    def _failed(self, error: BaseException) -> TaskDone:
        _log.info("activity %s of %s failed: %s", self._task.name, self._key[0], type(error).__name__)
        return self._done(failure=failure_of(without_our_frame(error)))

    def _done(self, result: str | None = None, failure: FailureDetails | None = None) -> TaskDone:
        instance_id, execution_id, task_id = self._key
        return TaskDone(
            instance_id=instance_id, execution_id=execution_id, task_id=task_id, result=result, failure=failure
        )


def _unknown(name: str, known: Mapping[str, Activity]) -> FailureDetails:
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return FailureDetails("ActivityNotFoundError", f"No activity is named {name!r}{hint}", is_non_retriable=True)
