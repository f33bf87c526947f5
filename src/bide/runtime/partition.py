"""The loop: messages in, one durable batch a pass, effects after it.

A pass takes the messages that are there (bounded), reads the cold instances among their targets in one go, tells each
instance its messages, and hands all commits to the store as one batch. Messages that instances send to each other are
handled in the same pass; what does not fit any more is stored with the batch as the inbox. While a batch is
being written the next pass already runs, on the state in memory. Its effects (answers to callers, activities, wake-ups)
are released when the batch is durable, in order.

When a batch cannot be written, nothing that rests on it may stand: callers of all passes under way get
`StoreUnavailableError`, all instances are dropped from memory, and the loop goes on from what the store holds.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, ClassVar, TypeGuard, TypeVar

import msgspec

from bide.app import App
from bide.core.entities import EntityInstance, dead_signal, refusal, unwanted
from bide.core.history import buffered_events
from bide.core.instance import Instance, dead_letter
from bide.core.turn import Job
from bide.errors import (
    BideError,
    EntityNotFoundError,
    HubClosedError,
    InstanceEndedError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStateError,
    OrchestratorNotFoundError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
)
from bide.model.clock import Clock
from bide.model.codec import decode_turn
from bide.model.commit import Batch, Commit, Turn
from bide.model.entities import ENTITY_MARK, EntityId
from bide.model.events import EventRaised, HistoryEvent
from bide.model.failure import FailureDetails
from bide.model.instance import DeadLetterReason, IdReusePolicy, InstanceRow, OrchestrationRuntimeStatus
from bide.model.messages import (
    AnyMessage,
    Begin,
    EntityBatchDone,
    Purge,
    RaiseEvent,
    RequestEntity,
    Resume,
    Rewind,
    StartInstance,
    Suspend,
    TakeUp,
    TaskDone,
    TaskKind,
    Terminate,
    TimersDue,
    UnlockEntity,
    decode_message,
    encode_message,
)
from bide.runtime.completions import Completions, Ended
from bide.runtime.jobs import JobResult, JobRunner
from bide.runtime.timers import Timers
from bide.store.base import Store

_log = logging.getLogger("bide.partition")

MESSAGES_PER_PASS = 128
"""More gains no throughput and costs latency (measured from 32 to 256 with SQLite)."""
_FEWEST_TO_SPLIT = 32
"""Below this a second fsync costs more than computing and writing side by side gains."""
_LONG_TURN = 0.25
"""Seconds after which a step of an orchestrator is worth a warning; they take microseconds."""
_ALONE = frozenset({Rewind, TakeUp})
"""Messages that begin a pass, and are the only ones of its first round: they read history, which must be stored by then."""
BATCHES_IN_FLIGHT = 2
"""One being written, one waiting for the writer: the writer is never idle, and no batch waits for long."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_ENTITY_MESSAGES = frozenset({RequestEntity, UnlockEntity, EntityBatchDone, TimersDue})
_ACTIVITY = TaskKind.ACTIVITY

Resident = Instance | EntityInstance
R = TypeVar("R", Instance, EntityInstance)


class Envelope:
    """A message under way: who wants the answer, and under which inbox key it is stored, if it is."""

    __slots__ = ("answer", "key", "message", "reply")

    def __init__(self, message: AnyMessage, reply: "asyncio.Future[Any] | None" = None, key: int | None = None) -> None:
        self.message = message
        self.reply = reply
        self.key = key
        self.answer: Any = None


class _Pass:
    """What one pass has gathered: the batch, and the effects that wait for it."""

    __slots__ = ("batch", "ended", "envelopes", "instances", "jobs", "purged", "wake_at")

    def __init__(self) -> None:
        self.batch = Batch(commits=[], inbox_added=[], inbox_removed=[])
        self.envelopes: list[Envelope] = []
        self.jobs: list[tuple[str, str, Job]] = []
        self.instances: dict[str, Resident] = {}
        self.ended: list[Ended] = []
        self.purged: list[str] = []
        self.wake_at: int | None = None


class Partition:
    """Owns a store's instances. `post` and `ask` are how everything reaches them."""

    def __init__(self, app: App, store: Store, clock: Clock, *, max_resident: int, completions: Completions) -> None:
        self._app = app
        self._store = store
        self._clock = clock
        self._max_resident = max_resident
        self._completions = completions
        self._timers = Timers(store, clock, self._post_due)
        self._residents: OrderedDict[str, Resident] = OrderedDict()
        self._pinned: dict[str, int] = {}  # instances with commits under way must stay
        self._mailbox: deque[Envelope] = deque()
        self._internal: deque[Envelope] = deque()  # from instance to instance; go first
        self._uncommitted_ids: set[tuple[int, str]] = set()
        self._in_flight: deque[asyncio.Future[None]] = deque()
        self._waker: asyncio.Future[None] | None = None
        self._last_iid = 0
        self._last_key = 0
        self._unusable: dict[str, BideError] = {}
        self._at_work_on: str | None = None
        self._failed = False
        self._failures = 0
        self._is_closing = False
        self.jobs: JobRunner

    # From outside

    def post(self, message: AnyMessage) -> None:
        """Deliver a message that nobody waits for."""
        self._enqueue(Envelope(message))

    def ask(self, message: AnyMessage) -> "asyncio.Future[Any]":
        """Deliver a message; the answer comes when what it did is durable."""
        reply = asyncio.get_running_loop().create_future()
        if self._is_closing:
            reply.set_exception(HubClosedError("The hub is closed."))
        else:
            self._enqueue(Envelope(message, reply))
        return reply

    def resident(self, instance_id: str) -> Resident | None:
        """Return the instance if it is in memory."""
        return self._residents.get(instance_id)

    def evict(self, instance_id: str) -> bool:
        """Drop an instance from memory, unless a commit of it is under way. Nothing changes but time."""
        if instance_id in self._pinned or instance_id not in self._residents:
            return False
        self._drop(self._residents.pop(instance_id))
        return True

    @property
    def backlog(self) -> int:
        """How many messages wait to be handled."""
        return len(self._mailbox) + len(self._internal)

    @property
    def is_idle(self) -> bool:
        """Whether no message waits and no commit is under way."""
        return not self._mailbox and not self._internal and not self._in_flight

    @property
    def _is_settled(self) -> bool:
        """Whether everything is stored; messages between instances may be left for the next start."""
        left = all(envelope.key is not None for envelope in self._internal)
        return left and not self._mailbox and not self._in_flight

    async def start(self) -> None:
        """Take over what the store holds: undelivered messages and running activities."""
        self._last_iid = await self._store.last_iid()
        await self._recover()

    async def run(self) -> None:
        """Handle messages until closed."""
        while True:
            await self._until_work()
            if self._is_closing and (self._is_settled or self._failed):
                self._refuse_all(HubClosedError("The hub was closed before this was stored."))
                return
            if self._failed:
                await self._restart()
            elif self._mailbox or self._internal:
                await self._run_pass()

    def close(self) -> None:
        """Finish what has been accepted, then end `run`."""
        self._is_closing = True
        self._timers.close()
        self._wake()

    # The loop

    def _enqueue(self, envelope: Envelope) -> None:
        self._mailbox.append(envelope)
        self._wake()

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def _until_work(self) -> None:
        """Wait until there is something to do, and room in the pipeline to do it."""
        while not self._failed:
            if len(self._in_flight) < BATCHES_IN_FLIGHT and (self._mailbox or self._internal):
                return
            if self._is_closing and self._is_settled:
                return
            self._waker = asyncio.get_running_loop().create_future()
            await self._waker
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    async def _run_pass(self) -> None:
        work = _Pass()
        envelopes = self._take(self._share())
        try:
            room = 2 * MESSAGES_PER_PASS
            while envelopes:
                room -= len(envelopes)
                await self._load(envelopes, work)
                for envelope in envelopes:
                    self._deliver(envelope, work)
                self._close_turns(work)
                envelopes = [] if self._is_closing else self._take_internal(max(room, 0), work)
            self._store_leftovers(work)
            self._commit(work)
        except Exception as error:  # noqa: BLE001  (callers must be told, whatever it is)
            if not isinstance(error, StoreError):
                self._set_aside(error)
            delivered = set(map(id, work.envelopes))
            work.envelopes.extend(envelope for envelope in envelopes if id(envelope) not in delivered)
            self._give_up(work, error)

    def _set_aside(self, error: Exception) -> None:
        """Leave the instance at which the engine failed alone from now on: it would fail at it again, with all others."""
        instance_id = self._at_work_on
        _log.error("the engine failed at instance %r; please report this", instance_id, exc_info=error)
        if instance_id is not None:
            self._unusable[instance_id] = StoreCorruptError(
                f"Instance {instance_id!r} cannot go on: {type(error).__name__}: {error}. "
                "Mend the code and start again, or purge the instance with force."
            )

    def _share(self) -> int:
        """How many messages to take: half of them when nothing is being written, to have something to do meanwhile."""
        if self._in_flight or self.backlog < _FEWEST_TO_SPLIT:
            return MESSAGES_PER_PASS
        return min(self.backlog // 2, MESSAGES_PER_PASS)

    def _take(self, limit: int) -> list[Envelope]:
        taken = self._take_internal(limit // 2 if self._mailbox else limit)
        while self._mailbox and len(taken) < limit:
            if type(self._mailbox[0].message) in _ALONE and taken:
                break
            taken.append(self._mailbox.popleft())
            if type(taken[-1].message) in _ALONE:
                break
        return taken

    def _take_internal(self, limit: int, work: _Pass | None = None) -> list[Envelope]:
        """Take messages between instances, for a new pass or for another round of `work`."""
        taken: list[Envelope] = []
        while self._internal and len(taken) < limit:
            if type(self._internal[0].message) in _ALONE and (taken or work is not None):
                break
            taken.append(self._internal.popleft())
            if type(taken[-1].message) in _ALONE:
                break
        return taken

    def _store_leftovers(self, work: _Pass) -> None:
        """Store messages of this pass that no turn of it handles, with the turns that sent them."""
        for envelope in self._internal:
            if envelope.key is None:
                self._last_key += 1
                envelope.key = self._last_key
                work.batch.inbox_added.append((envelope.key, encode_message(envelope.message)))

    def _commit(self, work: _Pass) -> None:
        batch = work.batch
        if not (batch.commits or batch.inbox_added or batch.inbox_removed):
            self._release_after_others(work)
            return
        for instance_id in work.instances:
            self._pinned[instance_id] = self._pinned.get(instance_id, 0) + 1
        done = asyncio.ensure_future(self._store.commit(batch))
        self._in_flight.append(done)
        done.add_done_callback(lambda future: self._on_committed(work, future))

    def _release_after_others(self, work: _Pass) -> None:
        """Release a pass that changed nothing. Its answers may rest on batches that are still being written."""
        if not self._in_flight:
            self._release(work)
            return

        def follow(last: "asyncio.Future[None]") -> None:
            error = last.exception() if not last.cancelled() else StoreUnavailableError("The commit was cancelled.")
            if error is None:
                self._release(work)
            else:
                self._give_up(work, error)

        self._in_flight[-1].add_done_callback(follow)

    def _on_committed(self, work: _Pass, done: "asyncio.Future[None]") -> None:
        self._in_flight.remove(done)
        for instance_id in work.instances:
            self._unpin(instance_id)
        error = done.exception() if not done.cancelled() else StoreUnavailableError("The commit was cancelled.")
        if error is None:
            self._failures = 0
            self._release(work)
            self._evict_surplus()
        else:
            self._give_up(work, error)
        self._wake()

    def _release(self, work: _Pass) -> None:
        """The batch is durable: let its effects out."""
        for commit in work.batch.commits:
            for event_id in commit.event_ids:
                self._uncommitted_ids.discard((commit.iid, event_id))
        for envelope in work.envelopes:
            self._answer(envelope)
        for ended in work.ended:
            _log_failure(ended.row)
            self._completions.ended(ended)
        for instance_id in work.purged:
            self._completions.purged(instance_id)
        for instance_id, execution_id, task in work.jobs:
            self.jobs.start(instance_id, execution_id, task)
        self._timers.handled(envelope.message.instance_id for envelope in work.envelopes)
        if work.wake_at is not None:
            self._timers.arm(work.wake_at)

    def _answer(self, envelope: Envelope) -> None:
        reply, answer, message = envelope.reply, envelope.answer, envelope.message
        kind = type(message)
        if (kind is TaskDone or kind is EntityBatchDone) and _is_job_result(message):
            self.jobs.forget(message)
        if reply is None or reply.done():
            return
        if isinstance(answer, BaseException):
            reply.set_exception(answer)
        else:
            reply.set_result(answer)

    # When the store fails

    def _give_up(self, work: _Pass, error: BaseException) -> None:
        self._failed = True
        failure = error if isinstance(error, BideError) else StoreUnavailableError(f"The store failed: {error}")
        for envelope in work.envelopes:
            if envelope.reply is not None:
                if not envelope.reply.done():
                    envelope.reply.set_exception(failure)
            elif _is_job_result(envelope.message):
                self._mailbox.append(envelope)  # nobody else knows the result
        if self._failures == 0:
            _log.error("store failed, going on from what it holds: %s", failure)

    async def _restart(self) -> None:
        """Forget everything in memory, and begin again from what the store holds."""
        for instance in self._residents.values():
            self._drop(instance)
        self._residents.clear()
        self._pinned.clear()
        self._internal.clear()
        self._uncommitted_ids.clear()
        self._timers.forget()
        self._failures += 1
        if self._failures > 1:
            await asyncio.sleep(min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE))
        self._failed = False
        try:
            await self._recover()
        except StoreError as error:
            self._failed = True
            self._refuse_all(error)
        self._completions.look_again()

    def _refuse_all(self, error: BaseException) -> None:
        kept: deque[Envelope] = deque()
        for envelope in self._mailbox:
            if envelope.reply is None:
                kept.append(envelope)
            elif not envelope.reply.done():
                envelope.reply.set_exception(error)
        self._mailbox = kept

    async def _recover(self) -> None:
        for key, data in await self._store.inbox():
            self._last_key = max(self._last_key, key)
            self._internal.append(Envelope(decode_message(data), key=key))
        after = 0
        while rows := await self._store.active(after, MESSAGES_PER_PASS):
            after = rows[-1][0]
            for _, instance_id in rows:
                # Loading an instance starts its open jobs; the message itself does nothing.
                self._mailbox.append(Envelope(TimersDue(instance_id=instance_id)))
        self._timers.arm(self._clock.now())
        self._wake()

    # Instances in memory

    async def _load(self, envelopes: list[Envelope], work: _Pass) -> None:
        """Bring in the cold instances among the targets, and what else must be read from the store."""
        rewinds = [envelope for envelope in envelopes if type(envelope.message) in _ALONE]
        if any(envelope.message.instance_id in self._pinned for envelope in rewinds):
            await asyncio.wait(self._in_flight)  # their last turns must be in the store
        residents, cold = self._residents, set[str]()
        for envelope in envelopes:
            message = envelope.message
            if message.instance_id not in residents and not (type(message) is StartInstance and message.is_new_id):
                cold.add(message.instance_id)
        # One that has changed and is not here has been removed, by a commit that the store may not have seen yet.
        cold.difference_update(self._pinned, work.instances)
        if cold:
            for loaded in await self._store.load(list(cold)):
                self._admit(loaded.row, loaded.turns, work)
        await self._find_duplicates(envelopes)
        for envelope in rewinds:
            envelope.answer = await self._store.turns(envelope.message.instance_id)
        await self._find_leftovers(envelopes)
        if self._failed:
            raise StoreUnavailableError("An earlier commit failed.")

    def _admit(self, row: InstanceRow, turns: list[Turn], work: _Pass) -> None:
        self._at_work_on = row.instance_id
        unusable = self._unusable.get(row.instance_id)
        try:
            if unusable is not None:
                turns = []
            instance = self._restored(row, _events_of(turns), turns[-1].seq + 1 if turns else 0)
        except msgspec.DecodeError as error:
            instance = self._restored(row, [], 0)
            unusable = StoreCorruptError(
                f"The history of instance {row.instance_id!r} cannot be read: {error}. "
                "Restore a backup, or purge the instance with force."
            )
        instance.unreadable = unusable
        self._residents[row.instance_id] = instance
        known = self._app.orchestrators if type(instance) is Instance else self._app.entities
        instance.is_stranded = instance.unreadable is not None or row.name not in known
        if row.is_active and not instance.is_stranded:
            work.jobs.extend(
                (row.instance_id, row.execution_id, task)
                for task in instance.jobs
                if not self.jobs.is_running(row.instance_id, row.execution_id, task.task_id)
            )

    def _restored(self, row: InstanceRow, events: list[HistoryEvent], seq: int) -> Resident:
        if row.instance_id[0] == ENTITY_MARK:
            return EntityInstance(row, events, seq)
        return Instance(row, self._app.orchestrators.get(row.name), events, seq)

    async def _find_duplicates(self, envelopes: list[Envelope]) -> None:
        """Mark the events whose id the store has seen on their instance: `answer` is that instance's iid."""
        pairs: dict[tuple[int, str], list[Envelope]] = {}
        for envelope in envelopes:
            message = envelope.message
            if type(message) is RaiseEvent and message.event_id is not None:
                instance = self._residents.get(message.instance_id)
                if instance is not None:
                    pairs.setdefault((instance.row.iid, message.event_id), []).append(envelope)
        if pairs:
            for pair in await self._store.seen_event_ids(list(pairs)):
                for envelope in pairs[pair]:
                    envelope.answer = pair[0]

    async def _find_leftovers(self, envelopes: list[Envelope]) -> None:
        """Read what nobody has consumed of instances that are to be removed, where only their history tells."""
        for envelope in envelopes:
            if type(envelope.message) in {StartInstance, Purge}:
                instance = self._residents.get(envelope.message.instance_id)
                if isinstance(instance, Instance) and instance.leftover is None and instance.execution is None:
                    instance.leftover = await self._leftover_of(instance.row)

    async def _leftover_of(self, row: InstanceRow) -> list[EventRaised]:
        try:
            return buffered_events(_events_of(await self._store.turns(row.instance_id)), row.buffered or {})
        except msgspec.DecodeError:
            return []

    def _unpin(self, instance_id: str) -> None:
        left = self._pinned.get(instance_id, 0) - 1
        if left > 0:
            self._pinned[instance_id] = left
        else:
            self._pinned.pop(instance_id, None)
            instance = self._residents.get(instance_id)
            if instance is not None and instance.has_ended and not instance.is_open:
                del self._residents[instance_id]

    def _evict_surplus(self) -> None:
        surplus = len(self._residents) - self._max_resident
        if surplus > 0:
            for instance_id in [key for key in self._residents if key not in self._pinned][:surplus]:
                self.evict(instance_id)

    def _drop(self, instance: Resident) -> None:
        instance.close()

    # One message

    def _deliver(self, envelope: Envelope, work: _Pass) -> None:
        """Tell an instance its message, or decide without it; the answer waits for the commit."""
        message = envelope.message
        self._at_work_on = message.instance_id
        instance = self._residents.get(message.instance_id)
        work.envelopes.append(envelope)
        if instance is not None and instance.is_stranded and not instance.has_ended and _needs_code(message):
            self._leave_alone(envelope, instance, work)
            return
        if envelope.key is not None:
            work.batch.inbox_removed.append(envelope.key)
        if message.iid and (instance is None or instance.row.iid != message.iid):
            if type(message) is RaiseEvent:
                self._bury(message, DeadLetterReason.DISCARDED, work)
            return  # it was for one that is no longer there
        if instance is None and type(message) is StartInstance and message.instance_id in self._unusable:
            envelope.answer = self._unusable[message.instance_id]
            return
        begin = perf_counter()
        try:
            if message.instance_id[0] == ENTITY_MARK:
                envelope.answer = self._for_entity(message, instance, work)
            else:
                envelope.answer = self._HANDLERS[type(message)](self, message, instance, work, envelope.answer)
        except BideError as error:
            envelope.answer = error
            if type(message) is StartInstance and envelope.reply is None and message.parent_instance_id is None:
                _log.warning("an entity could not start an orchestration: %s", error)
        if perf_counter() - begin > _LONG_TURN:
            self._complain(message.instance_id, perf_counter() - begin)

    def _complain(self, instance_id: str, seconds: float) -> None:
        instance = self._residents.get(instance_id)
        _log.warning(
            "orchestrator %r held up all others for %.1f s in %r: waiting, I/O and heavy computation belong in activities",
            instance.row.name if instance is not None else "?",
            seconds,
            instance_id,
        )

    def _open(self, instance: R, work: _Pass) -> R:
        if not instance.is_open:
            instance.open_turn(self._clock.now())
            work.instances[instance.row.instance_id] = instance
            self._residents.move_to_end(instance.row.instance_id)
        return instance

    def _close_turns(self, work: _Pass) -> None:
        for instance in list(work.instances.values()):
            if instance.is_open:
                self._close_turn(instance, work)

    def _close_turn(self, instance: Resident, work: _Pass) -> None:
        self._at_work_on = instance.row.instance_id
        result = instance.close_turn()
        if result is None:
            return
        row = instance.row
        work.batch.commits.append(result.commit)
        work.jobs.extend((row.instance_id, row.execution_id, task) for task in result.jobs)
        self._internal.extend(Envelope(message) for message in result.outbox)
        if result.has_ended:
            work.ended.append(Ended(row, instance.input, row.ended_at or 0))
        if result.commit.purge:
            self._residents.pop(row.instance_id, None)
        elif row.next_timer_at is not None and (work.wake_at is None or row.next_timer_at < work.wake_at):
            work.wake_at = row.next_timer_at

    def _leave_alone(self, envelope: Envelope, instance: Resident, work: _Pass) -> None:
        """Keep a message to a stranded instance in the inbox, until the next start; its timers can wait too."""
        message = envelope.message
        if type(message) is TimersDue:
            self._timers.ignore(message.instance_id)
        elif instance.unreadable is not None and envelope.reply is not None:
            envelope.answer = instance.unreadable
        elif type(message) is RaiseEvent and envelope.answer == instance.row.iid:
            envelope.answer = True
        else:
            _log.warning("%r is not registered; a message to %r is kept", instance.row.name, message.instance_id)
            envelope.answer = False if type(message) is RaiseEvent else None
            if envelope.key is None:
                self._last_key += 1
                envelope.key = self._last_key
                kept = msgspec.structs.replace(message, iid=instance.row.iid)
                work.batch.inbox_added.append((envelope.key, encode_message(kept)))

    def _start(self, message: StartInstance, existing: Instance | None, work: _Pass, _: Any) -> bool:
        """Start an instance; False when the policy keeps the one that is there."""
        orchestrator = self._app.orchestrators.get(message.name)
        if orchestrator is None:
            error = OrchestratorNotFoundError(message.name, self._app.orchestrators)
            self._tell_parent(message, error)
            raise error
        if existing is not None:
            status = existing.row.status.label
            if message.reuse is IdReusePolicy.KEEP and not existing.has_ended:
                return False
            if message.reuse is IdReusePolicy.REJECT or (
                message.reuse is not IdReusePolicy.REPLACE_ANY and not existing.has_ended
            ):
                error_ = InstanceExistsError(message.instance_id, status)
                self._tell_parent(message, error_)
                raise error_
            self._remove(existing, work)
        if message.version is None and self._app.version is not None:
            message = _with_version(message, self._app.version)
        self._last_iid += 1
        instance = Instance.start(message, self._last_iid, orchestrator, self._clock.now())
        self._residents[message.instance_id] = instance
        work.instances[message.instance_id] = instance
        return True

    def _tell_parent(self, message: StartInstance, error: BideError) -> None:
        if message.parent_instance_id is None or message.parent_task_id is None:
            return
        failure = FailureDetails(type(error).__name__, str(error), is_non_retriable=True)
        self._internal.append(Envelope(_result_for(message, failure=failure)))

    def _remove(self, instance: Resident, work: _Pass) -> None:
        """Take everything about the instance out of the store, closing its turn first."""
        instance_id = instance.row.instance_id
        if instance.is_open:
            self._close_turn(instance, work)
        letters, news = instance.remove(self._clock.now())
        self._internal.extend(map(Envelope, news))
        self._drop(instance)
        work.batch.commits.append(Commit(iid=instance.row.iid, purge=True))
        if letters:
            work.batch.commits.append(Commit(iid=0, dead_letters=tuple(letters)))
        work.instances[instance_id] = instance
        self._residents.pop(instance_id, None)
        self._unusable.pop(instance_id, None)
        self._timers.heed(instance_id)

    def _raise(self, message: RaiseEvent, instance: Instance | None, work: _Pass, known_to: Any) -> bool:
        """Answer whether the event is a duplicate; `known_to` is the iid on which the store has seen its id."""
        if instance is None:
            self._bury(message, DeadLetterReason.UNKNOWN_INSTANCE, work)
            raise InstanceNotFoundError(message.instance_id)
        key = None if message.event_id is None else (instance.row.iid, message.event_id)
        if known_to == instance.row.iid or key in self._uncommitted_ids:  # not if that one was replaced in this pass
            return True
        if instance.has_ended:
            self._bury(message, DeadLetterReason.INSTANCE_ENDED, work)
            raise InstanceEndedError(message.instance_id, instance.row.status.label)
        if key is not None:
            self._uncommitted_ids.add(key)
        self._open(instance, work).raise_event(message)
        return False

    def _bury(self, message: RaiseEvent, reason: DeadLetterReason, work: _Pass) -> None:
        now = self._clock.now()
        event = EventRaised(message.name, message.input, now, message.event_id)
        letter = dead_letter(message.instance_id, event, now, reason)
        work.batch.commits.append(Commit(iid=0, dead_letters=(letter,)))

    def _task_done(self, message: TaskDone, instance: Instance | None, work: _Pass, _: Any) -> None:
        if instance is not None and not instance.has_ended:
            self._open(instance, work).task_done(message)
        elif message.entities:
            self._internal.extend(map(Envelope, unwanted(message)))

    def _timers_due(self, _message: TimersDue, instance: Instance | None, work: _Pass, _: Any) -> None:
        if instance is None or instance.has_ended:
            return
        self._open(instance, work).fire_timers()

    def _begin(self, message: Begin, instance: Instance | None, work: _Pass, _: Any) -> None:
        if instance is not None and not instance.has_ended:
            self._open(instance, work).begin(message.execution_id)

    def _suspend(self, message: Suspend, instance: Instance | None, work: _Pass, _: Any) -> None:
        self._open(_live(message, instance), work).suspend(message.reason)

    def _resume(self, message: Resume, instance: Instance | None, work: _Pass, _: Any) -> None:
        self._open(_live(message, instance), work).resume(message.reason)

    def _terminate(self, message: Terminate, instance: Instance | None, work: _Pass, _: Any) -> None:
        self._open(_live(message, instance), work).terminate(message)

    def _rewind(self, message: Rewind, instance: Instance | None, work: _Pass, turns: Any) -> None:
        if instance is None:
            raise InstanceNotFoundError(message.instance_id)
        orchestrator = self._app.orchestrators.get(instance.row.name)
        if orchestrator is None:
            raise OrchestratorNotFoundError(instance.row.name, self._app.orchestrators)
        self._open(instance, work).rewind(message.reason, orchestrator, _events_of(turns), turns[-1].seq + 1)

    def _take_up(self, message: TakeUp, instance: Instance | None, work: _Pass, turns: Any) -> None:
        """Do for a child what its rewound parent needs: go on, try anew, tell the result again, or start."""
        start = message.start
        if instance is None or not (instance.row.instance_id == start.instance_id and instance.is_run_of(start)):
            if instance is None or instance.has_ended:
                self._internal.append(Envelope(start))
            else:
                self._tell_parent(start, InstanceExistsError(start.instance_id, instance.row.status.label))
        elif instance.row.status is OrchestrationRuntimeStatus.FAILED:
            try:
                self._rewind(
                    Rewind(instance_id=start.instance_id, reason="Its parent was rewound"), instance, work, turns
                )
            except BideError as error:
                self._tell_parent(start, error)
        elif instance.row.status is OrchestrationRuntimeStatus.COMPLETED:
            self._internal.append(Envelope(_result_for(start, result=instance.row.output)))
        elif instance.has_ended:
            self._internal.append(Envelope(start))

    def _purge(self, message: Purge, instance: Instance | None, work: _Pass, _: Any) -> None:
        if instance is None:
            raise InstanceNotFoundError(message.instance_id)
        if not instance.has_ended and not message.force:
            raise InstanceStateError(message.instance_id, instance.row.status.label, "purge", "an ended one")
        work.purged.append(message.instance_id)
        self._remove(instance, work)

    # Entities

    def _for_entity(self, message: AnyMessage, entity: Any, work: _Pass) -> Any:
        """Tell an entity its message. What is meant for orchestrations finds no instance of this id."""
        if type(message) is Purge:
            return self._purge(message, entity, work, None)
        if type(message) not in _ENTITY_MESSAGES:
            return self._HANDLERS[type(message)](self, message, None, work, None)
        if entity is None and type(message) is RequestEntity:
            entity = self._new_entity(message, work)
        if entity is not None:
            self._open(entity, work).receive(message)
        return None

    def _new_entity(self, message: RequestEntity, work: _Pass) -> EntityInstance | None:
        """Bring an entity into being, by the first request. Raises `EntityNotFoundError` when its code is not there."""
        entity_id = EntityId.parse(message.instance_id)
        if entity_id.name not in self._app.entities:
            error = EntityNotFoundError(entity_id.name, self._app.entities)
            answer = refusal(message, error)
            letter = dead_signal(
                message.instance_id, message.request, self._clock.now(), DeadLetterReason.UNKNOWN_ENTITY
            )
            if answer is not None:
                self._internal.append(Envelope(answer))
            if letter is not None:
                work.batch.commits.append(Commit(iid=0, dead_letters=(letter,)))
            raise error
        self._last_iid += 1
        entity = EntityInstance.create(entity_id, self._last_iid, self._clock.now())
        self._residents[message.instance_id] = work.instances[message.instance_id] = entity
        return entity

    _HANDLERS: ClassVar[dict[type[Any], Callable[..., Any]]] = {
        StartInstance: _start,
        RaiseEvent: _raise,
        TaskDone: _task_done,
        TimersDue: _timers_due,
        Begin: _begin,
        Suspend: _suspend,
        Resume: _resume,
        Terminate: _terminate,
        Rewind: _rewind,
        TakeUp: _take_up,
        Purge: _purge,
    }

    def _post_due(self, instance_ids: Iterable[str]) -> None:
        for instance_id in instance_ids:
            self._mailbox.append(Envelope(TimersDue(instance_id=instance_id)))
        self._wake()


def _log_failure(row: InstanceRow) -> None:
    """Name what failed, without its text: that may hold data."""
    if row.failure is not None:
        _log.warning("orchestrator %r failed in %r with %s", row.name, row.instance_id, row.failure.error_type)


def _result_for(start: StartInstance, *, result: str | None = None, failure: FailureDetails | None = None) -> TaskDone:
    """Make the message by which a parent hears of the child that it started."""
    return TaskDone(
        instance_id=start.parent_instance_id or "",
        execution_id=start.parent_execution_id or "",
        task_id=start.parent_task_id or 0,
        result=result,
        failure=failure,
        kind=TaskKind.CHILD,
    )


def _needs_code(message: AnyMessage) -> bool:
    """Whether the message can only be handled where the code is registered, and the history can be read."""
    if message.instance_id[0] == ENTITY_MARK:
        return type(message) in _ENTITY_MESSAGES
    return type(message) not in (StartInstance, Purge)


def _is_job_result(message: AnyMessage) -> TypeGuard[JobResult]:
    """Whether it is the result of a job; those of other instances are also stored in the inbox."""
    return type(message) is EntityBatchDone or (type(message) is TaskDone and message.kind is _ACTIVITY)


def _live(message: AnyMessage, instance: Instance | None) -> Instance:
    if instance is None:
        raise InstanceNotFoundError(message.instance_id)
    if instance.has_ended:
        raise InstanceEndedError(message.instance_id, instance.row.status.label)
    return instance


def _events_of(turns: Iterable[Turn]) -> list[HistoryEvent]:
    return [event for turn in turns for event in decode_turn(turn.data)]


def _with_version(message: StartInstance, version: str) -> StartInstance:
    return msgspec.structs.replace(message, version=version)
