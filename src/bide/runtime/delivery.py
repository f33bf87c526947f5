"""One message: what it does to its instance, or what is decided without one.

Handlers change instances in memory and gather what follows: commits in the pass, messages to other instances in
`outgoing`. Answers wait for the commit.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, ClassVar, TypeVar

import msgspec

from bide.app import App
from bide.core.entities import EntityInstance, dead_signal, refusal, unwanted
from bide.core.instance import Instance, dead_letter
from bide.errors import (
    BideError,
    EntityNotFoundError,
    InstanceEndedError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStateError,
    LeaseLostError,
    OrchestratorNotFoundError,
)
from bide.model.clock import Clock
from bide.model.commit import Commit
from bide.model.entities import ENTITY_MARK, EntityId
from bide.model.events import EventRaised
from bide.model.failure import FailureDetails
from bide.model.instance import DeadLetterReason, IdReusePolicy, OrchestrationRuntimeStatus
from bide.model.messages import (
    AnyMessage,
    AwaitEnd,
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
)
from bide.runtime.completions import Completions, Ended
from bide.runtime.passes import NO_ANSWER, Envelope, Inbox, Pass, Resident
from bide.runtime.residents import Residents, history_of
from bide.runtime.timers import Timers

_log = logging.getLogger("bide.partition")

_LONG_TURN = 0.25
"""Seconds after which a step of an orchestrator is worth a warning; they take microseconds."""
_ENTITY_MESSAGES = frozenset({RequestEntity, UnlockEntity, EntityBatchDone, TimersDue})

R = TypeVar("R", Instance, EntityInstance)


class Delivery:
    """Tells instances their messages."""

    def __init__(
        self,
        app: App,
        residents: Residents,
        clock: Clock,
        timers: Timers,
        inbox: Inbox,
        outgoing: deque[Envelope],
        completions: Completions,
        *,
        new_iid: Callable[[str], int],
    ) -> None:
        """`outgoing` takes what instances say to each other; `new_iid` numbers those that come into being."""
        self._app = app
        self._residents = residents
        self._clock = clock
        self._timers = timers
        self._inbox = inbox
        self._outgoing = outgoing
        self._uncommitted_ids: set[tuple[int, str]] = set()
        self._completions = completions
        self._new_iid = new_iid

    def deliver(self, envelope: Envelope, work: Pass) -> None:
        """Tell an instance its message, or decide without it; the answer waits for the commit."""
        message = envelope.message
        self._residents.at_work_on = message.instance_id
        instance = self._residents.get(message.instance_id)
        work.envelopes.append(envelope)
        if instance is not None and instance.is_stranded and not instance.has_ended and _needs_code(message):
            self._leave_alone(envelope, instance, work)
            return
        self._inbox.remove(envelope, work)
        if message.iid and (instance is None or instance.row.iid != message.iid):
            if type(message) is RaiseEvent:
                self._bury(message, DeadLetterReason.DISCARDED, work)
            return  # it was for one that is no longer there
        if instance is None and type(message) is StartInstance and message.instance_id in self._residents.unusable:
            envelope.answer = self._residents.unusable[message.instance_id]
            return
        begin = perf_counter()
        try:
            if message.instance_id[:1] == ENTITY_MARK:
                envelope.answer = self._for_entity(message, instance, work)
            else:
                envelope.answer = self._HANDLERS[type(message)](self, message, instance, work, envelope.answer)
        except LeaseLostError:
            raise  # the pass is tried again, by whoever owns the instance now
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

    def are_stored(self, commits: Iterable[Commit]) -> None:
        """From here on the store knows the event ids of these commits."""
        for commit in commits:
            for event_id in commit.event_ids:
                self._uncommitted_ids.discard((commit.iid, event_id))

    def forget(self) -> None:
        """What was not stored never will be."""
        self._uncommitted_ids.clear()

    def _open(self, instance: R, work: Pass) -> R:
        if not instance.is_open:
            instance.open_turn(self._clock.now())
            work.instances[instance.row.instance_id] = instance
            self._residents.touch(instance.row.instance_id)
        return instance

    def close_turns(self, work: Pass) -> None:
        """Sum up what each instance has become in this round."""
        for instance in list(work.instances.values()):
            if instance.is_open:
                self._close_turn(instance, work)

    def _close_turn(self, instance: Resident, work: Pass) -> None:
        self._residents.at_work_on = instance.row.instance_id
        result = instance.close_turn()
        if result is None:
            return
        row = instance.row
        work.batch.commits.append(result.commit)
        work.jobs.extend((row.instance_id, row.execution_id, task) for task in result.jobs)
        self._outgoing.extend(Envelope(message) for message in result.outbox)
        if result.has_ended:
            work.ended.append(Ended(row, instance.input, row.ended_at or 0))
        if result.commit.purge:
            self._residents.forget(row.instance_id)
        elif row.next_timer_at is not None and (work.wake_at is None or row.next_timer_at < work.wake_at):
            work.wake_at = row.next_timer_at

    def _leave_alone(self, envelope: Envelope, instance: Resident, work: Pass) -> None:
        """Keep a message to a stranded instance in the inbox, for it alone, until the next start; its timers can wait too."""
        message = envelope.message
        if type(message) is TimersDue:
            self._timers.ignore(message.instance_id)
        elif instance.unreadable is not None and (envelope.reply is not None or message.reply_to is not None):
            self._inbox.remove(envelope, work)
            envelope.answer = instance.unreadable
        elif type(message) is RaiseEvent and envelope.answer == instance.row.iid:
            envelope.answer = True
        else:
            _log.warning("%r is not registered; a message to %r is kept", instance.row.name, message.instance_id)
            envelope.answer = False if type(message) is RaiseEvent else None
            if not message.iid:
                self._inbox.remove(envelope, work)
                envelope.key = None
            self._inbox.keep(envelope, msgspec.structs.replace(message, iid=instance.row.iid, reply_to=None), work)

    def _start(self, message: StartInstance, existing: Instance | None, work: Pass, _: Any) -> bool:
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
        iid = self._new_iid(message.instance_id)
        instance = Instance.start(message, iid, orchestrator, self._clock.now())
        self._residents.put(instance)
        work.instances[message.instance_id] = instance
        return True

    def _tell_parent(self, message: StartInstance, error: BideError) -> None:
        if message.parent_instance_id is None or message.parent_task_id is None:
            return
        failure = FailureDetails(type(error).__name__, str(error), is_non_retriable=True)
        self._outgoing.append(Envelope(_result_for(message, failure=failure)))

    def _remove(self, instance: Resident, work: Pass) -> None:
        """Take everything about the instance out of the store, closing its turn first."""
        instance_id = instance.row.instance_id
        if instance.is_open:
            self._close_turn(instance, work)
        letters, news = instance.remove(self._clock.now())
        self._outgoing.extend(map(Envelope, news))
        instance.close()
        work.batch.commits.append(Commit(iid=instance.row.iid, purge=True))
        if letters:
            work.batch.commits.append(Commit(iid=0, dead_letters=tuple(letters)))
        work.instances[instance_id] = instance
        self._residents.forget(instance_id)
        self._timers.heed(instance_id)

    def _raise(self, message: RaiseEvent, instance: Instance | None, work: Pass, known_to: Any) -> bool:
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

    def _bury(self, message: RaiseEvent, reason: DeadLetterReason, work: Pass) -> None:
        now = self._clock.now()
        event = EventRaised(message.name, message.input, now, message.event_id)
        letter = dead_letter(message.instance_id, event, now, reason)
        work.batch.commits.append(Commit(iid=0, dead_letters=(letter,)))

    def _task_done(self, message: TaskDone, instance: Instance | None, work: Pass, _: Any) -> None:
        if instance is not None and not instance.has_ended:
            self._open(instance, work).task_done(message)
        elif message.entities:
            self._outgoing.extend(map(Envelope, unwanted(message)))

    def _timers_due(self, _message: TimersDue, instance: Instance | None, work: Pass, _: Any) -> None:
        if instance is None or instance.has_ended:
            return
        self._open(instance, work).fire_timers()

    def _begin(self, message: Begin, instance: Instance | None, work: Pass, _: Any) -> None:
        if instance is not None and not instance.has_ended:
            self._open(instance, work).begin(message.execution_id)

    def _await_end(self, message: AwaitEnd, instance: Instance | None, _work: Pass, _: Any) -> Any:
        """Answer at once when it has ended, else when it has."""
        if instance is None:
            raise InstanceNotFoundError(message.instance_id)
        if instance.has_ended or message.reply_to is None:
            return True
        self._completions.follow(message.instance_id, [message.reply_to], self._clock.now())
        return NO_ANSWER

    def _suspend(self, message: Suspend, instance: Instance | None, work: Pass, _: Any) -> None:
        self._open(_live(message, instance), work).suspend(message.reason)

    def _resume(self, message: Resume, instance: Instance | None, work: Pass, _: Any) -> None:
        self._open(_live(message, instance), work).resume(message.reason)

    def _terminate(self, message: Terminate, instance: Instance | None, work: Pass, _: Any) -> None:
        self._open(_live(message, instance), work).terminate(message)

    def _rewind(self, message: Rewind, instance: Instance | None, work: Pass, turns: Any) -> None:
        if instance is None:
            raise InstanceNotFoundError(message.instance_id)
        orchestrator = self._app.orchestrators.get(instance.row.name)
        if orchestrator is None:
            raise OrchestratorNotFoundError(instance.row.name, self._app.orchestrators)
        events = history_of(message.instance_id, turns)
        self._open(instance, work).rewind(message.reason, orchestrator, events, turns[-1].seq + 1)

    def _take_up(self, message: TakeUp, instance: Instance | None, work: Pass, turns: Any) -> None:
        """Do for a child what its rewound parent needs: go on, try anew, tell the result again, or start."""
        start = message.start
        if instance is None or not (instance.row.instance_id == start.instance_id and instance.is_run_of(start)):
            if instance is None or instance.has_ended:
                self._outgoing.append(Envelope(start))
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
            self._outgoing.append(Envelope(_result_for(start, result=instance.row.output)))
        elif instance.has_ended:
            self._outgoing.append(Envelope(start))

    def _purge(self, message: Purge, instance: Instance | None, work: Pass, _: Any) -> None:
        if instance is None:
            raise InstanceNotFoundError(message.instance_id)
        if not instance.has_ended and not message.force:
            raise InstanceStateError(message.instance_id, instance.row.status.label, "purge", "an ended one")
        work.purged.append(message.instance_id)
        self._remove(instance, work)

    # Entities

    def _for_entity(self, message: AnyMessage, entity: Any, work: Pass) -> Any:
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

    def _new_entity(self, message: RequestEntity, work: Pass) -> EntityInstance | None:
        """Bring an entity into being, by the first request. Raises `EntityNotFoundError` when its code is not there."""
        entity_id = EntityId.parse(message.instance_id)
        if entity_id.name not in self._app.entities:
            error = EntityNotFoundError(entity_id.name, self._app.entities)
            answer = refusal(message, error)
            letter = dead_signal(
                message.instance_id, message.request, self._clock.now(), DeadLetterReason.UNKNOWN_ENTITY
            )
            if answer is not None:
                self._outgoing.append(Envelope(answer))
            if letter is not None:
                work.batch.commits.append(Commit(iid=0, dead_letters=(letter,)))
            raise error
        iid = self._new_iid(message.instance_id)
        entity = EntityInstance.create(entity_id, iid, self._clock.now())
        self._residents.put(entity)
        work.instances[message.instance_id] = entity
        return entity

    def _astray(self, message: AnyMessage, _instance: Instance | None, _work: Pass, _: Any) -> None:
        """Drop what is for an entity and has another's id: it comes of a history that is damaged."""
        _log.error("a message for an entity went astray: %r is not an entity's id", message.instance_id)

    _HANDLERS: ClassVar[dict[type[Any], Callable[..., Any]]] = {
        StartInstance: _start,
        RaiseEvent: _raise,
        TaskDone: _task_done,
        TimersDue: _timers_due,
        Begin: _begin,
        AwaitEnd: _await_end,
        Suspend: _suspend,
        Resume: _resume,
        Terminate: _terminate,
        Rewind: _rewind,
        TakeUp: _take_up,
        Purge: _purge,
        RequestEntity: _astray,
        UnlockEntity: _astray,
        EntityBatchDone: _astray,
    }


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
    if message.instance_id[:1] == ENTITY_MARK:
        return type(message) in _ENTITY_MESSAGES
    return type(message) not in (StartInstance, Purge, AwaitEnd)


def _live(message: AnyMessage, instance: Instance | None) -> Instance:
    if instance is None:
        raise InstanceNotFoundError(message.instance_id)
    if instance.has_ended:
        raise InstanceEndedError(message.instance_id, instance.row.status.label)
    return instance


def _with_version(message: StartInstance, version: str) -> StartInstance:
    return msgspec.structs.replace(message, version=version)
