"""Whatever batches are written, the stores answer every question alike."""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from bide.model.codec import encode_payload
from bide.model.commit import Batch, Commit, Posted, Turn
from bide.model.instance import (
    DeadLetter,
    DeadLetterReason,
    InstanceRow,
    OrchestrationRuntimeStatus,
    Wait,
)
from bide.model.partitions import make_iid
from bide.store import MemoryStore, SqliteStore
from bide.store.base import InstanceFilter, Store
from bide.store.postgres import PostgresStore
from bide.testing.store_suite.fixtures import opened, turn

TIMES = st.integers(0, 9)
NAMES = st.sampled_from(["Approval", "approval", "Straße", "x y/z", '"q"', "日本"])
TEXTS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(encode_payload))
COUNTS = st.one_of(st.none(), st.dictionaries(NAMES, st.integers(1, 3), min_size=1, max_size=2))


class Writer:
    """Draws batches that a partition could write: rows exist before they are updated, turns are numbered in order."""

    def __init__(self, draw):
        self.draw = draw
        self.rows = {}
        self.turns = {}
        self.waits = {}
        self.last = 0
        self.now = 0
        self.inbox = []
        self.last_key = 0

    def batch(self) -> Batch:
        commits = [self.commit() for _ in range(self.draw(st.integers(0, 5)))]
        added = [Posted(0, self.next_key(), b"message") for _ in range(self.draw(st.integers(0, 2)))]
        taken = [(0, self.inbox.pop(0)) for _ in range(self.draw(st.integers(0, len(self.inbox))))]
        self.inbox += [posted.key for posted in added]
        return Batch(commits=commits, inbox_added=added, inbox_removed=taken)

    def next_key(self) -> int:
        self.last_key += 1
        return self.last_key

    def commit(self) -> Commit:
        kind = self.draw(st.sampled_from(["insert", "insert", "update", "update", "update", "purge", "bury"]))
        if kind == "bury":
            return Commit(iid=0, dead_letters=(self.letter("nobody"),))
        if kind == "insert" or not self.rows:
            return self.insert()
        iid = self.draw(st.sampled_from(sorted(self.rows)))
        return self.purge(iid) if kind == "purge" else self.update(iid)

    def insert(self) -> Commit:
        self.last += 1
        self.now += self.draw(st.integers(0, 2))  # stores sort by creation time, or by iid
        iid = make_iid(0, 0, self.last)
        self.rows[iid] = InstanceRow(
            iid=iid,
            instance_id=f"{'ab@'[self.last % 3]}{self.last}",
            name=self.draw(NAMES),
            status=OrchestrationRuntimeStatus.RUNNING,
            created_at=self.now,
            execution_id=f"e{iid}",
            parent_instance_id=self.draw(st.sampled_from([None, "a2", "b1"])),
            tags=self.draw(st.one_of(st.none(), st.just({"k": 'v"'}))),
            **self.state(),
        )
        self.turns[iid] = 1
        self.waits[iid] = set()
        return Commit(iid=iid, insert=self.rows[iid], turn=turn(0, self.draw(TIMES)), waits_opened=self.opened(iid))

    def update(self, iid: int) -> Commit:
        old = self.rows[iid]
        row = None
        if self.draw(st.booleans()):
            fields = {name: getattr(old, name) for name in old.__struct_fields__}
            status = self.draw(st.sampled_from(OrchestrationRuntimeStatus))
            row = self.rows[iid] = InstanceRow(**(fields | self.state() | {"status": status}))
        clears = self.draw(st.integers(0, 4)) == 0
        closes_all = clears or self.draw(st.integers(0, 4)) == 0
        closed = () if closes_all else tuple(number for number in sorted(self.waits[iid]) if self.draw(st.booleans()))
        self.waits[iid] = set() if closes_all else self.waits[iid] - set(closed)
        seq = self.turns[iid]
        self.turns[iid] += 1
        return Commit(
            iid=iid,
            update=row,
            turn=Turn(seq, self.draw(TIMES), turn(seq).data),
            clear_history=clears,
            waits_closed=None if closes_all else closed,
            waits_opened=self.opened(iid),
            event_ids=tuple(self.draw(st.lists(st.sampled_from("xyz"), max_size=2, unique=True))),
            dead_letters=tuple(self.letter(old.instance_id) for _ in range(self.draw(st.integers(0, 1)))),
        )

    def purge(self, iid: int) -> Commit:
        del self.rows[iid]
        return Commit(iid=iid, purge=True)

    def opened(self, iid: int) -> tuple[Wait, ...]:
        numbers = self.draw(st.sets(st.integers(0, 3), max_size=2)) - self.waits[iid]
        self.waits[iid] |= numbers
        instance_id = self.rows[iid].instance_id
        return tuple(
            Wait(instance_id, number, self.draw(NAMES), self.draw(TIMES), self.draw(st.one_of(st.none(), TIMES)), "int")
            for number in sorted(numbers)
        )

    def state(self) -> dict:
        return {
            "next_timer_at": self.draw(st.one_of(st.none(), TIMES)),
            "is_active": self.draw(st.booleans()),
            "ended_at": self.draw(st.one_of(st.none(), TIMES)),
            "output": self.draw(TEXTS),
            "custom_status": self.draw(TEXTS),
            "buffered": self.draw(COUNTS),
        }

    def letter(self, instance_id: str) -> DeadLetter:
        reason = self.draw(st.sampled_from(DeadLetterReason))
        return DeadLetter(instance_id, self.draw(NAMES), self.draw(TEXTS), None, 1, self.draw(TIMES), reason)


async def answers(store: Store, writer: Writer) -> dict:
    """Everything that can be asked."""
    ids = [f"{letter}{number}" for letter in "ab@" for number in range(writer.last + 1)]
    filters = [
        InstanceFilter(),
        InstanceFilter(statuses=frozenset({OrchestrationRuntimeStatus.RUNNING, OrchestrationRuntimeStatus.FAILED})),
        InstanceFilter(created_from=3, created_to=6),
        InstanceFilter(ended_before=5, id_prefix="a"),
        InstanceFilter(name="Approval"),
        InstanceFilter(entities=True),
        InstanceFilter(entities=True, updated_from=3, updated_to=6),
        InstanceFilter(waiting_for="APPROVAL"),
    ]
    loaded = await store.load(ids)
    due = await store.due(5, 100)
    return {
        "load": sorted(((each.row.iid, each) for each in loaded), key=lambda pair: pair[0]),
        "seen": await store.seen_event_ids(
            [(make_iid(0, 0, n), name) for n in range(writer.last + 1) for name in "xyz"]
        ),
        "due": (sorted(due.instance_ids), due.next_at),
        "active": await store.active(0, 100),
        "inbox": await store.inbox(),
        "get": [await store.get(each) for each in ids],
        "query": [await pages(store.query, where=where) for where in filters],
        "turns": [await store.turns(each) for each in ids],
        "waits": [
            await pages(store.waits),
            await pages(store.waits, name="approval"),
            await pages(store.waits, instance_id="b1"),
        ],
        "letters": [await pages(store.dead_letters), await pages(store.dead_letters, instance_id="nobody")],
        "children": sorted(await store.children(["a2", "b1"])),
    }


async def pages(verb, **options) -> list:
    """All items, two at a time."""
    items, token = [], None
    while True:
        page = await verb(**options, limit=2, token=token)
        items += page.items
        if (token := page.continuation_token) is None:
            return items


async def compare(data, *others: Callable[[], Store]) -> None:
    """Write the same to a store in memory and to others, and ask them the same."""
    writer = Writer(data.draw)
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(make)) for make in (MemoryStore, *others)]
        for _ in range(data.draw(st.integers(1, 4))):
            batch = writer.batch()
            for store in stores:
                await store.commit(batch)
            expected, *found = [await answers(store, writer) for store in stores]
            assert found == [expected] * len(others)
        assert len({await store.expire_dead_letters(5) for store in stores}) == 1
        assert len({len(await pages(store.dead_letters)) for store in stores}) == 1


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_sqlite_says_the_same_as_memory(data):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(data, lambda: SqliteStore(Path(folder) / "same.db")))


_schemas = count(1)


@given(st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgres_says_the_same_as_memory(postgres, data):
    url = postgres.url(f"same_{next(_schemas)}", partitions=1)
    asyncio.run(compare(data, lambda: PostgresStore(url)))
