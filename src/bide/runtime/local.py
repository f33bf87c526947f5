"""The client in the hub's own process: verbs become messages to the partition, or queries to the store."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from bide.client.base import (
    DEFAULT_PAGE_SIZE,
    Client,
    ClusterStatus,
    DeadEvent,
    EntityStatus,
    HistoryEntry,
    NodeStatus,
    OpenWait,
    OrchestrationStatus,
    QueuedMessage,
    RaisedEvent,
    ResultPage,
    optional_datetime,
)
from bide.errors import (
    InstanceNotFoundError,
    InstanceStateError,
    PayloadTooLargeError,
    StoreCorruptError,
    StoreUnavailableError,
)
from bide.model.clock import Clock, time_micros, to_datetime, to_micros
from bide.model.codec import decode_payload, decode_turn, encode_payload
from bide.model.commit import Turn
from bide.model.entities import ENTITY_MARK, EntityId, EntitySummary, OperationRequest, as_entity_id
from bide.model.events import ExecutionStarted, OrchestratorStarted
from bide.model.instance import (
    ENDED,
    DeadLetter,
    IdReusePolicy,
    InstanceRow,
    OrchestrationRuntimeStatus,
    Wait,
)
from bide.model.messages import Purge, RaiseEvent, RequestEntity, Resume, Rewind, StartInstance, Suspend, Terminate
from bide.model.names import (
    check_event_name,
    check_instance_id,
    check_operation_name,
    check_queue_name,
    check_storable,
    check_text,
    registered_name,
)
from bide.model.nodes import ClusterState, Node
from bide.model.queue import QueueMessage
from bide.runtime.completions import Completions, Ended, LookAgain
from bide.runtime.ids import IdSource
from bide.runtime.partition import Partition
from bide.runtime.queues import send
from bide.runtime.residents import history_of, unreadable
from bide.store.base import InstanceFilter, StatusRecord, Store

_log = logging.getLogger("bide.client")

_PURGED_AT_A_TIME = 200


class LocalClient(Client):
    """`Client` in process; see there for what the verbs promise."""

    def __init__(
        self,
        partition: Partition,
        store: Store,
        clock: Clock,
        ids: IdSource,
        completions: Completions,
        limit: int,
        state: Callable[[], Awaitable[ClusterState]],
    ) -> None:
        """`limit` is the largest payload in bytes; `state` tells about the nodes."""
        self._partition = partition
        self._store = store
        self._clock = clock
        self._ids = ids
        self._completions = completions
        self._limit = limit
        self._state = state

    async def start_new(
        self,
        orchestrator: str | Callable[..., Any],
        instance_id: str | None = None,
        client_input: Any = None,
        *,
        start_at: datetime | timedelta | None = None,
        id_reuse: IdReusePolicy = IdReusePolicy.REPLACE_ENDED,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        execution_id = self._ids.new_instance_id()
        message = StartInstance(
            instance_id=execution_id if instance_id is None else check_instance_id(instance_id),
            name=registered_name(orchestrator),
            execution_id=execution_id,
            input=encode_payload(client_input, "The input", self._limit),
            start_at=self._time(start_at),
            reuse=IdReusePolicy(id_reuse),
            version=check_text(version, "The version"),
            tags=_checked_tags(tags),
            is_new_id=instance_id is None,
        )
        await self._partition.ask(message)
        return message.instance_id

    async def raise_event(
        self, instance_id: str, name: str, data: Any = None, *, event_id: str | None = None
    ) -> RaisedEvent:
        _check_id(instance_id)
        check_event_name(name)
        check_text(event_id, "The event id")
        text = encode_payload(data, f"The data of event {name!r}", self._limit)
        message = RaiseEvent(instance_id=instance_id, name=name, input=text, event_id=event_id)
        is_duplicate = await self._partition.ask(message)
        return RaisedEvent(instance_id=instance_id, name=name, event_id=event_id, is_duplicate=is_duplicate)

    async def get_status(
        self, instance_id: str, *, show_history: bool = False, show_input: bool = True
    ) -> OrchestrationStatus:
        record = await self._record(instance_id)
        waits: tuple[OpenWait, ...] = ()
        if not record.row.status.is_ended:
            page = await self._store.waits(instance_id=instance_id, limit=1000)
            waits = tuple(map(_open_wait, page.items))
        history = await self.get_history(instance_id) if show_history else None
        return _status(record, show_input=show_input, waits=waits, history=history)

    async def get_status_by(
        self,
        *,
        runtime_status: Iterable[OrchestrationRuntimeStatus] | None = None,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        instance_id_prefix: str | None = None,
        name: str | None = None,
        waiting_for: str | None = None,
        show_input: bool = True,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[OrchestrationStatus]:
        where = InstanceFilter(
            statuses=frozenset(runtime_status) if runtime_status is not None else None,
            created_from=_optional_micros(created_time_from),
            created_to=_optional_micros(created_time_to),
            id_prefix=instance_id_prefix,
            name=name,
            waiting_for=waiting_for,
        )
        page = await self._store.query(where, limit=page_size, token=continuation_token)
        items = tuple(_listed(record, show_input=show_input) for record in page.items)
        return ResultPage(items, page.continuation_token)

    async def wait_for_completion(
        self,
        instance_id: str,
        *,
        timeout: timedelta | float | None = None,
    ) -> OrchestrationStatus:
        _check_is_orchestration(instance_id)
        if timeout is None:
            return await self._completion(instance_id)
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._completion(instance_id)
        except TimeoutError:
            raise TimeoutError(f"Instance {instance_id!r} has not ended after {seconds:g} s") from None

    async def _completion(self, instance_id: str) -> OrchestrationStatus:
        while True:
            ended = self._completions.register(_check_id(instance_id))
            try:
                instance = self._partition.resident(instance_id)
                if instance is None or instance.has_ended:
                    status = await self.get_status(instance_id)
                    if status.runtime_status.is_ended:
                        return status
                return _ended_status(await self._end_of(instance_id, ended))
            except LookAgain:
                continue
            finally:
                self._completions.forget(instance_id, ended)

    async def _end_of(self, instance_id: str, ended: asyncio.Future[Ended]) -> Ended:
        """Wait for the end, wherever the instance is handled. Raises `LookAgain` when only the store knows more."""
        heard = self._partition.follow(instance_id)
        if heard is None:
            return await ended
        try:
            await asyncio.wait((ended, heard), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                with contextlib.suppress(StoreUnavailableError):  # as when the owner has changed
                    heard.result()
                raise LookAgain
        finally:
            heard.cancel()
        return ended.result()

    async def terminate(self, instance_id: str, reason: str | None = None, *, recursive: bool = False) -> None:
        await self._partition.ask(
            Terminate(instance_id=_check_id(instance_id), reason=_reason(reason), recursive=recursive)
        )

    async def suspend(self, instance_id: str, reason: str | None = None) -> None:
        await self._partition.ask(Suspend(instance_id=_check_id(instance_id), reason=_reason(reason)))

    async def resume(self, instance_id: str, reason: str | None = None) -> None:
        await self._partition.ask(Resume(instance_id=_check_id(instance_id), reason=_reason(reason)))

    async def rewind(self, instance_id: str, reason: str | None = None) -> None:
        await self._partition.ask(Rewind(instance_id=_check_id(instance_id), reason=_reason(reason)))

    async def restart(self, instance_id: str, *, restart_with_new_instance_id: bool = True) -> str:
        record = await self._record(instance_id)
        started = _started(record)
        execution_id = self._ids.new_instance_id()
        message = StartInstance(
            instance_id=execution_id if restart_with_new_instance_id else instance_id,
            name=record.row.name,
            execution_id=execution_id,
            input=started.input,
            tags=started.tags,
            is_new_id=restart_with_new_instance_id,
        )
        await self._partition.ask(message)
        return message.instance_id

    async def purge(self, instance_id: str, *, force: bool = False, recursive: bool = False) -> int:
        _check_id(instance_id)
        below = await self._descendants(instance_id) if recursive else []
        removed = 1
        try:
            await self._partition.ask(Purge(instance_id=instance_id, force=force))
        except InstanceNotFoundError:
            if not below:  # else a purge was broken off, and this is its repetition
                raise
            removed = 0
        below.reverse()  # what is removed cannot lead to its children any more
        for start in range(0, len(below), _PURGED_AT_A_TIME):
            removed += await self._purge_all(below[start : start + _PURGED_AT_A_TIME], force=force)
        return removed

    async def purge_by(
        self,
        *,
        created_time_from: datetime | None = None,
        created_time_to: datetime | None = None,
        runtime_status: Iterable[OrchestrationRuntimeStatus] | None = None,
    ) -> int:
        statuses = ENDED if runtime_status is None else ENDED & frozenset(runtime_status)
        where = InstanceFilter(
            statuses=statuses,
            created_from=_optional_micros(created_time_from),
            created_to=_optional_micros(created_time_to),
        )
        return await self.purge_where(where) if statuses else 0

    async def purge_where(self, where: InstanceFilter) -> int:
        """Remove the ended instances that match; see `purge_by`."""
        removed, token = 0, None
        while True:
            page = await self._store.query(where, limit=_PURGED_AT_A_TIME, token=token)
            removed += await self._purge_all([record.row.instance_id for record in page.items], force=False)
            token = page.continuation_token
            if token is None:
                return removed

    async def get_history(self, instance_id: str) -> tuple[HistoryEntry, ...]:
        _check_is_orchestration(instance_id)
        turns = await self._store.turns(instance_id)
        if not turns:
            raise InstanceNotFoundError(instance_id)
        return tuple(_entries(instance_id, turns))

    async def waits(
        self,
        *,
        instance_id: str | None = None,
        name: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[OpenWait]:
        page = await self._store.waits(instance_id=instance_id, name=name, limit=page_size, token=continuation_token)
        return ResultPage(tuple(map(_open_wait, page.items)), page.continuation_token)

    async def dead_letters(
        self,
        *,
        instance_id: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[DeadEvent]:
        page = await self._store.dead_letters(instance_id=instance_id, limit=page_size, token=continuation_token)
        return ResultPage(tuple(map(_dead_event, page.items)), page.continuation_token)

    async def send_queue_message(self, queue: str, body: str, *, delay: timedelta | float | None = None) -> str:
        check_queue_name(queue)
        size = len(check_storable(body, "A message").encode())
        if size > self._limit:
            raise PayloadTooLargeError("The message", size, self._limit)
        return str(await send(self._store, queue, body, self._clock.now(), delay))

    async def queues(self) -> Mapping[str, int]:
        return await self._store.queue_lengths()

    async def peek_queue(self, queue: str, *, limit: int = DEFAULT_PAGE_SIZE) -> tuple[QueuedMessage, ...]:
        return tuple(map(_queued_message, await self._store.peek(check_queue_name(queue), limit)))

    async def nodes(self) -> ClusterStatus:
        return _cluster_status(await self._state())

    async def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str,
        input_: Any = None,
        *,
        scheduled_time: datetime | timedelta | None = None,
    ) -> None:
        text = encode_payload(input_, f"The input of operation {operation!r}", self._limit)
        request = OperationRequest(self._ids.new_id(), check_operation_name(operation), text)
        target = str(as_entity_id(entity_id))
        await self._partition.ask(
            RequestEntity(instance_id=target, request=request, scheduled_at=self._time(scheduled_time))
        )

    async def get_entity(self, entity_id: EntityId | str) -> EntityStatus | None:
        record = await self._store.get(str(as_entity_id(entity_id)))
        return None if record is None else _entity_status(record, fetch_state=True)

    async def list_entities(
        self,
        name: str | None = None,
        *,
        last_operation_from: datetime | None = None,
        last_operation_to: datetime | None = None,
        fetch_state: bool = False,
        page_size: int = DEFAULT_PAGE_SIZE,
        continuation_token: str | None = None,
    ) -> ResultPage[EntityStatus]:
        where = InstanceFilter(
            entities=True,
            name=name.casefold() if name is not None else None,
            updated_from=_optional_micros(last_operation_from),
            updated_to=_optional_micros(last_operation_to),
        )
        page = await self._store.query(where, limit=page_size, token=continuation_token)
        items = tuple(_entity_status(record, fetch_state=fetch_state) for record in page.items)
        return ResultPage(items, page.continuation_token)

    async def _record(self, instance_id: str) -> StatusRecord:
        _check_is_orchestration(instance_id)
        record = await self._store.get(instance_id)
        if record is None:
            raise InstanceNotFoundError(instance_id)
        return record

    async def _descendants(self, instance_id: str) -> list[str]:
        found: dict[str, None] = {instance_id: None}
        level = [instance_id]
        while level := [each for each in await self._store.children(level) if each not in found]:
            found.update(dict.fromkeys(level))
        return list(found)[1:]

    async def _purge_all(self, instance_ids: Iterable[str], *, force: bool) -> int:
        asked = [self._partition.ask(Purge(instance_id=each, force=force)) for each in instance_ids]
        results = await asyncio.gather(*asked, return_exceptions=True)
        for result in results:
            # One that is gone, or was started anew meanwhile, is not one of those that were to be removed.
            if isinstance(result, BaseException) and not isinstance(result, InstanceNotFoundError | InstanceStateError):
                raise result
        return sum(not isinstance(result, BaseException) for result in results)

    def _time(self, value: datetime | timedelta | None) -> int | None:
        return None if value is None else time_micros(value, self._clock.now())


def _check_is_orchestration(instance_id: str) -> None:
    if _check_id(instance_id).startswith(ENTITY_MARK):
        raise InstanceNotFoundError(instance_id)


@contextlib.contextmanager
def _named(instance_id: str) -> Iterator[None]:
    """What is stored of an instance and cannot be read is damaged."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, IndexError) as error:
        raise StoreCorruptError(
            f"What is stored of {instance_id!r} cannot be read: {error}. Restore a backup, or purge it with force."
        ) from error


def _entity_status(record: StatusRecord, *, fetch_state: bool) -> EntityStatus:
    row = record.row
    with _named(row.instance_id):
        summary = msgspec.json.decode(row.custom_status or "{}", type=EntitySummary)
        return EntityStatus(
            entity_id=EntityId.parse(row.instance_id),
            state=decode_payload(row.output) if fetch_state else None,
            last_operation_time=to_datetime(record.updated_at),
            locked_by=summary.locked_by,
            backlog=summary.backlog,
        )


def _check_id(instance_id: str) -> str:
    """Return an id that somebody asks for, if one could be stored at all: no instance has it otherwise."""
    return check_text(instance_id, "An instance id") or ""


def _reason(text: str | None) -> str | None:
    return check_text(text, "The reason") if text else None


def _checked_tags(tags: Mapping[str, str] | None) -> dict[str, str] | None:
    for key, value in (tags or {}).items():
        check_text(key, "A tag's name")
        check_text(value, f"The value of tag {key!r}")
    return dict(tags) if tags else None


def _optional_micros(value: datetime | None) -> int | None:
    return None if value is None else to_micros(value)


def _started(record: StatusRecord) -> ExecutionStarted:
    started = history_of(record.row.instance_id, [Turn(0, 0, record.started)])[0]
    assert isinstance(started, ExecutionStarted)
    return started


def _listed(record: StatusRecord, *, show_input: bool) -> OrchestrationStatus:
    """Show an instance in a list. One whose history cannot be read is shown without its input: the others are there too."""
    try:
        return _status(record, show_input=show_input)
    except StoreCorruptError as error:
        _log.error("%s", error)
        return _status(record, show_input=False)


def _status(
    record: StatusRecord,
    *,
    show_input: bool,
    waits: tuple[OpenWait, ...] = (),
    history: tuple[HistoryEntry, ...] | None = None,
) -> OrchestrationStatus:
    input_ = _started(record).input if show_input else None
    try:
        return _status_of(record.row, input_, record.updated_at, waits, history)
    except ValueError as error:
        raise unreadable(record.row.instance_id, error) from error


def _ended_status(ended: Ended) -> OrchestrationStatus:
    return _status_of(ended.row, ended.input, ended.at)


def _status_of(
    row: InstanceRow,
    input_: str | None,
    updated_at: int,
    waits: tuple[OpenWait, ...] = (),
    history: tuple[HistoryEntry, ...] | None = None,
) -> OrchestrationStatus:
    with _named(row.instance_id):
        return OrchestrationStatus(
            instance_id=row.instance_id,
            name=row.name,
            runtime_status=row.status,
            created_time=to_datetime(row.created_at),
            last_updated_time=to_datetime(updated_at),
            input=decode_payload(input_),
            output=decode_payload(row.output),
            custom_status=decode_payload(row.custom_status),
            failure=row.failure,
            version=row.version,
            tags=row.tags or {},
            parent_instance_id=row.parent_instance_id,
            generation=row.generation,
            scheduled_start_time=optional_datetime(row.start_at),
            waits=waits,
            buffered=row.buffered or {},
            history=history,
        )


def _entries(instance_id: str, turns: list[Turn]) -> Iterable[HistoryEntry]:
    with _named(instance_id):
        for turn in turns:
            timestamp = to_datetime(turn.at)
            for event in decode_turn(turn.data):
                if isinstance(event, OrchestratorStarted):
                    timestamp = to_datetime(event.timestamp)
                yield HistoryEntry(turn.seq, timestamp, event)


def _open_wait(wait: Wait) -> OpenWait:
    with _named(wait.instance_id):
        return OpenWait(
            instance_id=wait.instance_id,
            name=wait.name,
            since=to_datetime(wait.since),
            deadline=optional_datetime(wait.deadline),
            type=wait.type,
        )


def _dead_event(letter: DeadLetter) -> DeadEvent:
    with _named(letter.instance_id):
        return DeadEvent(
            instance_id=letter.instance_id,
            name=letter.name,
            data=decode_payload(letter.input),
            event_id=letter.event_id,
            raised_at=to_datetime(letter.raised_at),
            recorded_at=to_datetime(letter.recorded_at),
            reason=letter.reason,
        )


def _cluster_status(state: ClusterState) -> ClusterStatus:
    owned: dict[int, list[int]] = {node.number: [] for node in state.nodes}
    unowned: list[int] = []
    for lease in state.leases:
        is_owned = lease.node is not None and lease.node in owned and not lease.is_free
        (owned[lease.node] if is_owned and lease.node is not None else unowned).append(lease.partition)
    return ClusterStatus(
        nodes=tuple(_node_status(node, owned[node.number], state) for node in state.nodes),
        partitions=len(state.leases),
        unowned=tuple(unowned),
        offered=state.offered,
    )


def _node_status(node: Node, partitions: list[int], state: ClusterState) -> NodeStatus:
    return NodeStatus(
        name=node.name,
        role=node.role,
        partitions=tuple(partitions),
        joined_time=to_datetime(node.joined_at),
        last_seen_time=to_datetime(node.seen_at),
        waiting=node.load.backlog + state.inbox_of(partitions),
        resident=node.load.resident,
        running=node.load.running,
        rate=node.load.rate,
    )


def _queued_message(message: QueueMessage) -> QueuedMessage:
    return QueuedMessage(
        id=str(message.id),
        queue=message.queue,
        body=message.body,
        inserted_at=to_datetime(message.inserted_at),
        visible_at=to_datetime(message.visible_at),
        dequeue_count=message.dequeue_count,
        expires_at=optional_datetime(message.expires_at),
    )
