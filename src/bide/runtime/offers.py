"""Activities that any node of a cluster may run.

The owner of an instance runs its activities as long as it has room. What goes beyond is *offered*: a row of the commit that
schedules it. A node with room claims offered activities; its claim stands as long as the node beats, and after that somebody
else may run the activity again. The row goes with the commit that holds the result, so that a result is recorded once.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from enum import Enum, auto
from typing import Any

import msgspec

from bide.app import Activity
from bide.core.turn import Job
from bide.model.commit import ActivityKey, OfferedActivity
from bide.model.events import TaskScheduled
from bide.model.messages import AnyMessage, TaskDone, TaskKind
from bide.model.partitions import partition_of
from bide.runtime.jobs import JobKey, JobRunner
from bide.runtime.passes import Pass
from bide.runtime.residents import Residents
from bide.store.cluster import SharedStore

_log = logging.getLogger("bide.jobs")

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(TaskScheduled)
_AT_A_TIME = 256


class Lane(Enum):
    """Where an activity runs."""

    COROUTINES = auto()
    THREADS = auto()
    PROCESSES = auto()


class Offers:
    """What this node leaves to others, and what it has taken from them."""

    def __init__(
        self,
        store: SharedStore,
        jobs: JobRunner,
        activities: Mapping[str, Activity],
        rooms: Mapping[Lane, Callable[[], int]],
        *,
        ttl: int,
    ) -> None:
        """`activities` are those registered here; `rooms` tell how many more of a kind may be started, none without.

        Claims last for `ttl` microseconds.
        """
        self._store = store
        self._jobs = jobs
        self._activities = activities
        self._rooms = rooms
        self._ttl = ttl
        self._claimed: dict[JobKey, ActivityKey] = {}
        self.may_be_some = True
        """Whether there may be offered activities that nobody has claimed."""

    # In a pass

    def settle(self, work: Pass, residents: Residents) -> None:
        """Offer the jobs of a pass for which there is no room, and remove the claims of those that have ended."""
        if work.jobs:
            room = {lane: self._room(lane) for lane in Lane}
            kept: list[tuple[str, str, Job]] = []
            for job in work.jobs:
                activity = self._activities.get(job[2].name) if isinstance(job[2], TaskScheduled) else None
                if activity is None:
                    kept.append(job)
                elif room[lane := self._lane(activity)] <= 0 or activity.max_concurrent is not None:
                    self._offer(*job, residents, work)
                else:
                    room[lane] -= 1
                    kept.append(job)
            work.jobs = kept
        if self._claimed:
            for envelope in (*work.envelopes, *work.forwarded):
                key = self._claimed.get(key_of(envelope.message)) if type(envelope.message) is TaskDone else None
                if key is not None:
                    work.batch.activities_removed.append(key)

    def _room(self, lane: Lane) -> int:
        return self._rooms[lane]() if lane in self._rooms else 0

    def _lane(self, activity: Activity) -> Lane:
        if activity.is_async:
            return Lane.COROUTINES
        return Lane.PROCESSES if activity.wants_process and Lane.PROCESSES in self._rooms else Lane.THREADS

    def _offer(self, instance_id: str, execution_id: str, task: Any, residents: Residents, work: Pass) -> None:
        instance = residents.get(instance_id) or work.instances[instance_id]
        key = ActivityKey(instance.row.iid, execution_id, task.task_id)
        work.batch.activities_added.append(OfferedActivity(key, instance_id, task.name, _encode(task)))

    def are_removed(self, keys: Collection[ActivityKey]) -> None:
        """The store has them no more."""
        if keys:
            gone = set(keys)
            self._claimed = {job: key for job, key in self._claimed.items() if key not in gone}

    # Beside the passes

    async def claim(self) -> bool:
        """Run what others have offered, as far as there is room; whether there was room, and may be more to run."""
        self.may_be_some = is_more = False
        for lane in self._rooms:
            names = {
                name: activity.max_concurrent
                for name, activity in self._activities.items()
                if self._lane(activity) is lane
            }
            room = min(self._room(lane), _AT_A_TIME)
            if names and room <= 0:
                self.may_be_some = True
            elif names:
                offered = await self._store.claim_activities(names, room, self._ttl)
                is_more |= len(offered) == room
                for activity in offered:
                    self._start(activity)
        self.may_be_some |= is_more
        return is_more

    def _start(self, activity: OfferedActivity) -> None:
        """Run an activity; one that cannot be read stays where it is, and stops no other."""
        try:
            task = _decoder.decode(activity.data)
        except msgspec.DecodeError as error:
            _log.error("activity %r of instance %r cannot be read: %s", activity.name, activity.instance_id, error)
            return
        job = (activity.instance_id, activity.key.execution_id, activity.key.task_id)
        self._claimed[job] = activity.key
        self._jobs.start(activity.instance_id, activity.key.execution_id, task)

    async def hold(self, residents: Residents, is_gone: Callable[[str], bool]) -> None:
        """Note that we are running activities of instances that somebody else will handle from now on.

        Not of those that somebody else handles already: he has started them again.
        """
        held = self._store.held
        running = [
            (job, task)
            for job, task in self._jobs.running
            if isinstance(task, TaskScheduled)
            and is_gone(job[0])
            and job not in self._claimed
            and partition_of(job[0], self._store.partitions) in held
        ]
        iids = await self._iids({job[0] for job, _ in running}, residents)
        noted = {
            job: OfferedActivity(ActivityKey(iids[job[0]], job[1], job[2]), job[0], task.name, _encode(task))
            for job, task in running
            if job[0] in iids
        }
        if noted:
            await self._store.hold_activities(list(noted.values()), self._ttl)
            self._claimed.update((job, activity.key) for job, activity in noted.items())

    async def _iids(self, instance_ids: set[str], residents: Residents) -> dict[str, int]:
        iids = {each: instance.row.iid for each in instance_ids if (instance := residents.get(each)) is not None}
        cold = await self._store.load(list(instance_ids - iids.keys()))
        return iids | {loaded.row.instance_id: loaded.row.iid for loaded in cold}


def key_of(message: AnyMessage) -> JobKey:
    """Name the job whose result this is."""
    assert isinstance(message, TaskDone)
    return (message.instance_id, message.execution_id, message.task_id if message.kind is TaskKind.ACTIVITY else -1)
