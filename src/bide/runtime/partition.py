"""The loop: messages in, one durable batch a pass, effects after it.

A pass takes the messages that are there (bounded), reads the cold instances among their targets in one go, tells each
instance its messages, and hands all commits to the store as one batch. Messages that instances send to each other are
handled in the same pass; what does not fit any more is stored with the batch as the inbox. While a batch is
being written the next pass already runs, on the state in memory. Its effects (answers to callers, activities, wake-ups)
are released when the batch is durable, in order.

When a batch cannot be written, nothing that rests on it may stand: callers of all passes under way get
`StoreUnavailableError`, all instances are dropped from memory, and the loop goes on from what the store holds.

In a store that several nodes share the loop handles the instances of the partitions that its node owns (`Routes`).
Partitions come and go between passes, when nothing is being written.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeGuard

from bide.app import App
from bide.errors import (
    BideError,
    HubBusyError,
    HubClosedError,
    LeaseLostError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
)
from bide.model.clock import Clock
from bide.model.commit import Reply
from bide.model.instance import InstanceRow
from bide.model.messages import AnyMessage, AwaitEnd, EntityBatchDone, TaskDone, TaskKind, TimersDue
from bide.runtime.answers import encode_answer
from bide.runtime.completions import Completions
from bide.runtime.delivery import Delivery
from bide.runtime.jobs import JobResult, JobRunner
from bide.runtime.offers import Offers
from bide.runtime.passes import ALONE, NO_ANSWER, Envelope, Inbox, Pass, Resident
from bide.runtime.residents import Residents
from bide.runtime.routes import Routes
from bide.runtime.timers import Timers
from bide.store.base import Store

_log = logging.getLogger("bide.partition")

MESSAGES_PER_PASS = 128
"""More gains no throughput and costs latency (measured from 32 to 256 with SQLite)."""
_FEWEST_TO_SPLIT = 32
"""Below this a second fsync costs more than computing and writing side by side gains."""
BATCHES_IN_FLIGHT = 2
"""One being written, one waiting for the writer: the writer is never idle, and no batch waits for long."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_READ_AT_ONCE = 1024
"""Messages from other nodes that are read from the inbox at a time."""
_ACTIVITY = TaskKind.ACTIVITY
_IT_HAS_ENDED = encode_answer(answer=True)


class Partition:
    """Owns a store's instances, or a node's share of them. `post` and `ask` are how everything reaches them."""

    def __init__(
        self,
        app: App,
        store: Store,
        clock: Clock,
        *,
        max_resident: int,
        max_backlog: int,
        completions: Completions,
        routes: Routes | None = None,
    ) -> None:
        """`routes` say which instances are handled here; None: all of them."""
        self._store = store
        self._routes = routes
        self._clock = clock
        self._max_backlog = max_backlog
        self._completions = completions
        self._timers = Timers(store, clock, self._post_due)
        self._mailbox: deque[Envelope] = deque()
        self._internal: deque[Envelope] = deque()  # from instance to instance; go first
        self.inbox = Inbox(store, routes.partition_of if routes is not None else None)
        self._residents = Residents(app, store, limit=max_resident, is_running=self._is_running)
        self._delivery = Delivery(
            app,
            self._residents,
            clock,
            self._timers,
            self.inbox,
            self._internal,
            completions,
            new_iid=store.new_iid,
        )
        self._in_flight: deque[asyncio.Future[None]] = deque()
        self._waker: asyncio.Future[None] | None = None
        self._has_mail = False
        self._again: list[Envelope] = []  # after a failure
        self._orders: deque[tuple[Callable[[], Awaitable[None]], asyncio.Future[None]]] = deque()
        self._failed = False
        self._failures = 0
        self._is_closing = False
        self.messages = 0
        """How many have been handled."""
        self.jobs: JobRunner
        self.offers: Offers | None = None
        self.on_failure: Callable[[], Awaitable[None]]
        """What a node does before it goes on after a failure: find out which partitions it still holds."""

    # From outside

    def post(self, message: AnyMessage) -> None:
        """Deliver a message that nobody waits for."""
        self._enqueue(Envelope(message))

    def ask(self, message: AnyMessage) -> "asyncio.Future[Any]":
        """Deliver a message; the answer comes when what it did is durable.

        Refused with `HubBusyError` when too many wait, here or for other nodes: under more load than the store can take, memory
        must not grow.
        """
        reply = asyncio.get_running_loop().create_future()
        if self._is_closing:
            reply.set_exception(HubClosedError("The hub is closed."))
        elif self._requests >= self._max_backlog and type(message) is not AwaitEnd:
            text = f"{self._max_backlog:,} requests wait for the hub already; try again a little later."
            reply.set_exception(HubBusyError(text))
        else:
            self._enqueue(Envelope(message, reply))
        return reply

    @property
    def _requests(self) -> int:
        return len(self._mailbox) + (self._routes.requests if self._routes is not None else 0)

    def resident(self, instance_id: str) -> Resident | None:
        """Return the instance if it is in memory."""
        return self._residents.get(instance_id)

    def evict(self, instance_id: str) -> bool:
        """Drop an instance from memory, unless a commit of it is under way. Nothing changes but time."""
        return self._residents.evict(instance_id)

    def follow(self, instance_id: str) -> "asyncio.Future[Any] | None":
        """Ask the node that handles an instance to tell when it has ended; None when it is handled here."""
        if self._routes is None or self._routes.is_ours(instance_id):
            return None
        return self.ask(AwaitEnd(instance_id=instance_id))

    def look_for_mail(self) -> None:
        """Other nodes may have stored messages for us."""
        self._has_mail = True
        self._wake()

    @property
    def backlog(self) -> int:
        """How many messages wait to be handled."""
        return len(self._mailbox) + len(self._internal)

    @property
    def resident_count(self) -> int:
        """How many instances are in memory."""
        return len(self._residents)

    @property
    def is_idle(self) -> bool:
        """Whether no message waits and no commit is under way."""
        return not (self._mailbox or self._internal or self._in_flight or self._has_mail or self._orders)

    @property
    def _is_settled(self) -> bool:
        """Whether everything is stored; messages between instances may be left for the next start."""
        left = all(envelope.key is not None for envelope in self._internal)
        return left and not self._mailbox and not self._in_flight

    async def start(self) -> None:
        """Take over what the store holds: undelivered messages and running activities."""
        await self._recover()

    async def run(self) -> None:
        """Handle messages until closed."""
        while True:
            await self._until_work()
            if self._is_closing and (self._is_settled or self._failed):
                self._end()
                return
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001  (the loop must not end: nobody else would handle its instances)
                _log.exception("the engine failed, and begins again from what is stored; please report this")
                self._fail(StoreUnavailableError(f"The engine failed: {type(error).__name__}: {error}"))

    async def _step(self) -> None:
        if self._failed:
            await self._restart()
        elif self._orders:
            await self._carry_out()
        else:
            await self._read_mail()
            if self._mailbox or self._internal:
                await self._run_pass()

    # Partitions come and go

    async def take_over(self, partitions: Collection[int]) -> None:
        """Handle the instances of these partitions, which the store holds, from now on."""
        routes = self._routes
        assert routes is not None

        async def order() -> None:
            routes.owned.update(partitions)
            self._timers.forget()
            self._completions.drop(lambda each: routes.partition_of(each) in partitions)  # it may have ended elsewhere
            try:
                await self._recover()
            except StoreError as error:
                self._fail(error)  # they are ours, and what they hold must be read

        await self._between_passes(order)

    async def hand_over(self, partitions: Collection[int]) -> None:
        """Handle the instances of these partitions no more: all that was begun is stored when this returns.

        Raises `StoreError`; then nothing has changed.
        """
        await self._between_passes(lambda: self._let_go(partitions))

    async def _between_passes(self, order: Callable[[], Awaitable[None]]) -> None:
        done = asyncio.get_running_loop().create_future()
        self._orders.append((order, done))
        self._wake()
        await done

    async def _carry_out(self) -> None:
        """Do what was ordered. Nothing is being written now. What fails half-way is made good by beginning again."""
        order, done = self._orders.popleft()
        failure: StoreError | None = None
        try:
            await order()
        except StoreError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  (the loop must not end, nobody else would handle its instances)
            _log.exception("the engine failed as partitions came or went; please report this")
            failure = StoreUnavailableError(f"The engine failed: {type(error).__name__}: {error}")
        if failure is not None:
            self._fail(failure)
        if done.cancelled():  # the hub is closing
            return
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)

    async def _let_go(self, partitions: Collection[int]) -> None:
        assert self._routes is not None
        routes = self._routes
        if self.offers is not None:
            await self.offers.hold(self._residents, lambda each: routes.partition_of(each) in partitions)
        routes.owned.difference_update(partitions)
        self._residents.drop(self._is_elsewhere)
        self.inbox.forget_all(partitions)
        ours = [each for each in self._internal if not self._is_elsewhere(each.message.instance_id)]
        self._internal.clear()  # what waits between passes is stored: the next owner reads it
        self._internal.extend(ours)
        self._timers.forget()
        self._completions.drop(self._is_elsewhere)

    def _is_elsewhere(self, instance_id: str) -> bool:
        return self._routes is not None and not self._routes.is_ours(instance_id)

    def _end(self) -> None:
        self._mailbox.extend(self._again)
        self._again.clear()
        self._refuse_all(HubClosedError("The hub was closed before this was stored."))
        for _, done in self._orders:
            done.cancel()
        self._orders.clear()

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
            if self._orders and not self._in_flight:
                return
            if self._has_work and len(self._in_flight) < BATCHES_IN_FLIGHT:
                return
            if self._is_closing and self._is_settled:
                return
            self._waker = asyncio.get_running_loop().create_future()
            await self._waker
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    @property
    def _has_work(self) -> bool:
        return not self._orders and bool(self._mailbox or self._internal or self._has_mail)

    async def _read_mail(self) -> None:
        """Read messages of other nodes, unless there is enough to do."""
        if not self._has_mail or len(self._internal) > _READ_AT_ONCE:
            return
        self._has_mail = False
        try:
            envelopes, self._has_mail = await self.inbox.read(_READ_AT_ONCE)
        except StoreError as error:
            self._fail(error)
            return
        self._internal.extend(envelopes)

    async def _run_pass(self) -> None:
        work = Pass()
        envelopes = self._ours(self._take(self._share()), work)
        try:
            room = 2 * MESSAGES_PER_PASS
            while envelopes:
                room -= len(envelopes)
                await self._load(envelopes, work)
                for envelope in envelopes:
                    self._delivery.deliver(envelope, work)
                self._delivery.close_turns(work)
                self.messages += len(envelopes)
                envelopes = [] if self._is_closing else self._ours(self._take_internal(max(room, 0), work), work)
            self._store_leftovers(work)
            self._commit(work)
            self._residents.release()
        except Exception as error:  # noqa: BLE001  (callers must be told, whatever it is)
            if not isinstance(error, StoreError):
                self._set_aside(error, work)
            delivered = set(map(id, work.envelopes))
            work.envelopes.extend(envelope for envelope in envelopes if id(envelope) not in delivered)
            self._give_up(work, error)

    def _ours(self, envelopes: list[Envelope], work: Pass) -> list[Envelope]:
        """Keep what is handled here; the rest goes into its owners' inboxes with this pass."""
        if self._routes is None:
            return envelopes
        ours = []
        for envelope in envelopes:
            if self._routes.is_ours(envelope.message.instance_id):
                ours.append(envelope)
            elif type(envelope.message) is TimersDue:
                self._timers.is_elsewhere(envelope.message.instance_id)
            else:
                self._routes.forward(envelope, self.inbox, work)
        return ours

    def _is_running(self, instance_id: str, execution_id: str, task_id: int) -> bool:
        return self.jobs.is_running(instance_id, execution_id, task_id)

    async def _load(self, envelopes: list[Envelope], work: Pass) -> None:
        if any(
            type(each.message) in ALONE and self._residents.is_pinned(each.message.instance_id) for each in envelopes
        ):
            await asyncio.wait(self._in_flight)  # their last turns must be in the store
        await self._residents.load(envelopes, work)
        if self._failed:
            raise StoreUnavailableError("An earlier commit failed.")

    def _set_aside(self, error: Exception, work: Pass) -> None:
        """Leave the instance at which the engine failed alone from now on: it would fail at it again, with all others.

        So it would at a message of the inbox.
        """
        instance_id = self._residents.at_work_on
        self.inbox.leave(each.key for each in work.envelopes if each.key and each.message.instance_id == instance_id)
        _log.error("the engine failed at instance %r; please report this", instance_id, exc_info=error)
        if instance_id is not None:
            self._residents.unusable[instance_id] = StoreCorruptError(
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
            if type(self._mailbox[0].message) in ALONE and taken:
                break
            taken.append(self._mailbox.popleft())
            if type(taken[-1].message) in ALONE:
                break
        return taken

    def _take_internal(self, limit: int, work: Pass | None = None) -> list[Envelope]:
        """Take messages between instances, for a new pass or for another round of `work`."""
        taken: list[Envelope] = []
        while self._internal and len(taken) < limit:
            if type(self._internal[0].message) in ALONE and (taken or work is not None):
                break
            taken.append(self._internal.popleft())
            if type(taken[-1].message) in ALONE:
                break
        return taken

    def _store_leftovers(self, work: Pass) -> None:
        """Store messages of this pass that no turn of it handles, with the turns that sent them."""
        if self._routes is not None:
            ours = self._ours(list(self._internal), work)
            self._internal.clear()
            self._internal.extend(ours)
        for envelope in self._internal:
            self.inbox.keep(envelope, envelope.message, work)

    def _commit(self, work: Pass) -> None:
        batch = work.batch
        if self._routes is not None:
            self._add_replies(work)
        if self.offers is not None:
            self.offers.settle(work, self._residents)
        if batch.is_empty:
            self._release_after_others(work)
            return
        self._residents.pin(work.instances)
        done = asyncio.ensure_future(self._store.commit(batch))
        self._in_flight.append(done)
        done.add_done_callback(lambda future: self._on_committed(work, future))

    def _add_replies(self, work: Pass) -> None:
        """What other nodes are told when the batch is durable."""
        replies = work.batch.replies
        for envelope in work.envelopes:
            address = envelope.message.reply_to
            if address is not None and envelope.answer is not NO_ANSWER:
                replies.append(Reply(*address, encode_answer(envelope.answer)))
        for instance_id in (*(ended.row.instance_id for ended in work.ended), *work.purged):
            followers = self._completions.take_followers(instance_id)
            replies.extend(Reply(*address, _IT_HAS_ENDED) for address in followers)
            work.followers.append((instance_id, followers))

    def _release_after_others(self, work: Pass) -> None:
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

    def _on_committed(self, work: Pass, done: "asyncio.Future[None]") -> None:
        self._in_flight.remove(done)
        self._residents.unpin(work.instances)
        error = done.exception() if not done.cancelled() else StoreUnavailableError("The commit was cancelled.")
        if error is None:
            self._failures = 0
            self._release(work)
            self._residents.evict_surplus()
        else:
            self._give_up(work, error)
        self._wake()

    def _release(self, work: Pass) -> None:
        """The batch is durable: let its effects out."""
        self._delivery.are_stored(work.batch.commits)
        self.inbox.are_removed(work.batch.inbox_removed)
        for envelope in work.envelopes:
            self._answer(envelope)
        for envelope in work.forwarded:
            if _is_job_result(envelope.message):
                self.jobs.forget(envelope.message)
        if self.offers is not None:
            self.offers.are_removed(work.batch.activities_removed)
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

    def _give_up(self, work: Pass, error: BaseException) -> None:
        failure = error if isinstance(error, BideError) else StoreUnavailableError(f"The store failed: {error}")
        is_unwritten = isinstance(error, LeaseLostError)  # for certain: it may be tried again, by whoever owns it now
        unwritten_keys = {posted.key for posted in work.batch.inbox_added}
        for envelope in (*work.envelopes, *work.forwarded):
            if envelope.key in unwritten_keys:
                envelope.key = None
            if envelope.reply is not None:
                if envelope.reply.done():
                    continue
                if is_unwritten:
                    envelope.answer = None
                    self._again.append(envelope)
                else:
                    envelope.reply.set_exception(failure)
            elif _is_job_result(envelope.message) and envelope.key is None:
                self._again.append(envelope)  # nobody else knows the result
        for instance_id, followers in work.followers:
            self._completions.follow(instance_id, followers, self._clock.now())
        self._fail(failure)

    def _fail(self, error: BaseException) -> None:
        if self._failures == 0 and not self._failed:
            if isinstance(error, LeaseLostError):
                _log.warning("lost a partition to another node, going on with what is left: %s", error)
            else:
                _log.error("store failed, going on from what it holds: %s", error)
        self._failed = True

    async def _restart(self) -> None:
        """Forget everything in memory, and begin again from what the store holds."""
        self._residents.clear()
        self._internal.clear()
        self.inbox.forget_all()
        self._delivery.forget()
        self._timers.forget()
        self._failures += 1
        if self._failures > 1:
            await asyncio.sleep(min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE))
        self._mailbox.extendleft(reversed(self._again))
        self._again.clear()
        self._failed = False
        try:
            if self._routes is not None:
                await self.on_failure()
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
        envelopes, _ = await self.inbox.read()
        self._internal.extend(envelopes)
        after = 0
        while rows := await self._store.active(after, MESSAGES_PER_PASS):
            after = rows[-1][0]
            for _, instance_id in rows:
                # Loading an instance starts its open jobs; the message itself does nothing.
                self._mailbox.append(Envelope(TimersDue(instance_id=instance_id)))
        self._timers.arm(self._clock.now())
        self._wake()

    def _post_due(self, instance_ids: Iterable[str]) -> None:
        for instance_id in instance_ids:
            self._mailbox.append(Envelope(TimersDue(instance_id=instance_id)))
        self._wake()


def _log_failure(row: InstanceRow) -> None:
    """Name what failed, without its text: that may hold data."""
    if row.failure is not None:
        _log.warning("orchestrator %r failed in %r with %s", row.name, row.instance_id, row.failure.error_type)


def _is_job_result(message: AnyMessage) -> TypeGuard[JobResult]:
    """Whether it is the result of a job; those of other instances are also stored in the inbox."""
    return type(message) is EntityBatchDone or (type(message) is TaskDone and message.kind is _ACTIVITY)
