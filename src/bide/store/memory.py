"""A store in memory: the contract of `Store` in plain dicts. For tests, and for trying things out."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from bide.errors import StoreUnavailableError
from bide.model.commit import Batch, Commit, Turn
from bide.model.entities import ENTITY_MARK
from bide.model.instance import DeadLetter, InstanceRow, Wait
from bide.store.base import Due, InstanceFilter, Loaded, Page, StatusRecord, parse_token
from bide.store.memory_queues import MemoryQueues

T = TypeVar("T")


class MemoryStore(MemoryQueues):
    """See `Store`. What it holds outlives `close`, so that a test can open it again."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[int, InstanceRow] = {}
        self._ids: dict[str, int] = {}
        self._turns: dict[int, list[Turn]] = {}
        self._waits: dict[int, dict[int, Wait]] = {}
        self._event_ids: set[tuple[int, str]] = set()
        self._dead_letters: list[tuple[int, DeadLetter]] = []
        self._inbox: dict[int, bytes] = {}
        self._last_iid = 0
        self._last_letter = 0

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    def new_iid(self, instance_id: str) -> int:  # noqa: ARG002  (iids of an embedded store have no parts)
        self._last_iid += 1
        return self._last_iid

    async def load(self, instance_ids: Sequence[str]) -> list[Loaded]:
        self._check_open()
        rows = [self._rows[self._ids[each]] for each in instance_ids if each in self._ids]
        return [Loaded(copy.copy(row), [] if row.status.is_ended else list(self._turns[row.iid])) for row in rows]

    async def seen_event_ids(self, pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
        self._check_open()
        return self._event_ids.intersection(pairs)

    def commit(self, batch: Batch) -> Awaitable[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._is_open:
            done.set_exception(StoreUnavailableError("The store is closed."))
            return done
        for commit in batch.commits:
            self._apply(commit)
        self._inbox.update((posted.key, posted.data) for posted in batch.inbox_added)
        for _, key in batch.inbox_removed:
            self._inbox.pop(key, None)
        done.set_result(None)
        return done

    def _apply(self, commit: Commit) -> None:
        iid = commit.iid
        self._last_iid = max(self._last_iid, iid)
        if commit.purge:
            self._purge(iid)
            return
        row = commit.insert or commit.update
        if row is not None:
            self._rows[iid] = row
            self._ids[row.instance_id] = iid
        if commit.clear_history:
            self._turns[iid] = []
        if commit.turn is not None:
            self._turns.setdefault(iid, []).append(commit.turn)
        waits = self._waits.setdefault(iid, {})
        for number in waits.copy() if commit.waits_closed is None or commit.clear_history else commit.waits_closed:
            waits.pop(number, None)
        waits.update((wait.number, wait) for wait in commit.waits_opened)
        self._event_ids.update((iid, event_id) for event_id in commit.event_ids)
        for letter in commit.dead_letters:
            self._last_letter += 1
            self._dead_letters.append((self._last_letter, letter))

    def _purge(self, iid: int) -> None:
        row = self._rows.pop(iid, None)
        if row is not None and self._ids.get(row.instance_id) == iid:
            del self._ids[row.instance_id]
        self._turns.pop(iid, None)
        self._waits.pop(iid, None)
        self._event_ids = {pair for pair in self._event_ids if pair[0] != iid}

    async def due(self, now: int, limit: int) -> Due:
        self._check_open()
        timers = sorted(
            (row.next_timer_at, row.instance_id) for row in self._rows.values() if row.next_timer_at is not None
        )
        due = [instance_id for at, instance_id in timers if at <= now][:limit]
        return Due(due, timers[len(due)][0] if len(timers) > len(due) else None)

    async def active(self, after_iid: int, limit: int) -> list[tuple[int, str]]:
        rows = sorted((iid, row.instance_id) for iid, row in self._rows.items() if row.is_active and iid > after_iid)
        return rows[:limit]

    async def inbox(self, limit: int | None = None) -> list[tuple[int, bytes]]:
        return sorted(self._inbox.items())[:limit]

    async def get(self, instance_id: str) -> StatusRecord | None:
        self._check_open()
        iid = self._ids.get(instance_id)
        return None if iid is None else self._record(iid)

    def _record(self, iid: int) -> StatusRecord:
        turns = self._turns[iid]
        return StatusRecord(copy.copy(self._rows[iid]), turns[0].data, turns[-1].at)

    async def query(self, where: InstanceFilter, *, limit: int = 100, token: str | None = None) -> Page[StatusRecord]:
        self._check_open()
        matching = [iid for iid, row in self._rows.items() if self._matches(row, where)]
        page = _page(sorted(matching, reverse=True), lambda iid: (iid,), limit, token, is_descending=True)
        return Page([self._record(iid) for iid in page.items], page.continuation_token)

    def _matches(self, row: InstanceRow, where: InstanceFilter) -> bool:
        folded = where.waiting_for.casefold() if where.waiting_for is not None else None
        return (
            (row.instance_id[0] == ENTITY_MARK) == where.entities
            and (where.statuses is None or row.status in where.statuses)
            and (where.created_from is None or row.created_at >= where.created_from)
            and (where.created_to is None or row.created_at <= where.created_to)
            and (where.updated_from is None or self._turns[row.iid][-1].at >= where.updated_from)
            and (where.updated_to is None or self._turns[row.iid][-1].at <= where.updated_to)
            and (where.ended_before is None or (row.ended_at is not None and row.ended_at < where.ended_before))
            and (where.id_prefix is None or row.instance_id.startswith(where.id_prefix))
            and (where.name is None or row.name == where.name)
            and (
                folded is None or any(wait.name.casefold() == folded for wait in self._waits.get(row.iid, {}).values())
            )
        )

    async def turns(self, instance_id: str) -> list[Turn]:
        self._check_open()
        return list(self._turns[self._ids[instance_id]]) if instance_id in self._ids else []

    async def waits(
        self,
        *,
        instance_id: str | None = None,
        name: str | None = None,
        limit: int = 100,
        token: str | None = None,
    ) -> Page[Wait]:
        self._check_open()
        folded = name.casefold() if name is not None else None
        found = [
            (wait.since, iid, wait.number, wait)
            for iid, waits in self._waits.items()
            for wait in waits.values()
            if (instance_id is None or wait.instance_id == instance_id)
            and (folded is None or wait.name.casefold() == folded)
        ]
        page = _page(sorted(found, key=lambda each: each[:3]), lambda each: each[:3], limit, token, length=3)
        return Page([each[3] for each in page.items], page.continuation_token)

    async def dead_letters(
        self, *, instance_id: str | None = None, limit: int = 100, token: str | None = None
    ) -> Page[DeadLetter]:
        self._check_open()
        found = [pair for pair in reversed(self._dead_letters) if instance_id in {None, pair[1].instance_id}]
        page = _page(found, lambda pair: (pair[0],), limit, token, is_descending=True)
        return Page([letter for _, letter in page.items], page.continuation_token)

    async def children(self, instance_ids: Sequence[str]) -> list[str]:
        parents = set(instance_ids)
        return [row.instance_id for row in self._rows.values() if row.parent_instance_id in parents]

    async def expire_dead_letters(self, before: int) -> int:
        kept = [pair for pair in self._dead_letters if pair[1].recorded_at >= before]
        removed = len(self._dead_letters) - len(kept)
        self._dead_letters = kept
        return removed


def _page(
    items: list[T],
    key: Callable[[T], tuple[int, ...]],
    limit: int,
    token: str | None,
    *,
    length: int = 1,
    is_descending: bool = False,
) -> Page[T]:
    """Cut a page from `items`, in the order of `key`, a tuple of `length`; a token is the last key of the page before."""
    if token is not None:
        last = parse_token(token, length)
        items = [item for item in items if (key(item) < last if is_descending else key(item) > last)]
    page = items[:limit]
    return Page(page, ".".join(map(str, key(page[-1]))) if len(items) > limit else None)
