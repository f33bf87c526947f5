"""Queries: filters, order, pages."""

import pytest

from bide.errors import InvalidInputError
from bide.model.commit import Commit
from bide.model.instance import DeadLetter, DeadLetterReason, OrchestrationRuntimeStatus
from bide.store.base import InstanceFilter, Store
from bide.testing.store_suite.fixtures import iid, inserted, row, turn, wait, write

_COMPLETED = OrchestrationRuntimeStatus.COMPLETED
_RUNNING = OrchestrationRuntimeStatus.RUNNING


async def test_an_instance_shows_its_first_and_last_turn(store: Store) -> None:
    """The first holds the input, the last tells when it was updated."""
    await write(store, inserted(1), Commit(iid=iid(1), turn=turn(1, at=77)))
    record = await store.get("i1")
    assert record is not None
    assert (record.row, record.started, record.updated_at) == (row(1), turn(0).data, 77)
    assert await store.get("nobody") is None


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (InstanceFilter(), ["i4", "i3", "i2", "i1"]),
        (InstanceFilter(statuses=frozenset({_COMPLETED})), ["i4"]),
        (InstanceFilter(statuses=frozenset({_COMPLETED, _RUNNING}), created_to=2000), ["i2", "i1"]),
        (InstanceFilter(created_from=2000, created_to=3000), ["i3", "i2"]),
        (InstanceFilter(ended_before=500), []),
        (InstanceFilter(ended_before=501), ["i4"]),
        (InstanceFilter(id_prefix="i3"), ["i3"]),
        (InstanceFilter(id_prefix="I3"), []),
        (InstanceFilter(name="other"), ["i2"]),
        (InstanceFilter(waiting_for="APPROVAL"), ["i1"]),
        (InstanceFilter(waiting_for="Approval", name="other"), []),
    ],
)
async def test_filters(store: Store, where: InstanceFilter, found: list[str]) -> None:
    """They are joined by "and"; the newest comes first."""
    await write(
        store,
        Commit(iid=iid(1), insert=row(1), turn=turn(0), waits_opened=(wait(1, 0, "Approval"),)),
        inserted(2, name="other"),
        inserted(3),
        inserted(4, status=_COMPLETED, ended_at=500),
    )
    assert [record.row.instance_id for record in (await store.query(where)).items] == found


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (InstanceFilter(), ["Ab", "i1"]),
        (InstanceFilter(id_prefix="@"), []),
        (InstanceFilter(name="counter"), ["i1"]),
        (InstanceFilter(entities=True), ["@x@a", "@counter@b", "@counter@a"]),
        (InstanceFilter(entities=True, name="counter"), ["@counter@b", "@counter@a"]),
        (InstanceFilter(entities=True, updated_from=30), ["@x@a", "@counter@b"]),
        (InstanceFilter(entities=True, updated_to=30), ["@counter@b", "@counter@a"]),
        (InstanceFilter(entities=True, updated_from=31, updated_to=39), []),
    ],
)
async def test_entities_are_asked_for_apart(store: Store, where: InstanceFilter, found: list[str]) -> None:
    """A query is for orchestrations or for entities; the time is that of the last turn, both limits count."""
    await write(
        store,
        inserted(1, name="counter"),
        Commit(iid=iid(2), insert=row(2, instance_id="@counter@a", name="counter"), turn=turn(0, at=20)),
        Commit(iid=iid(3), insert=row(3, instance_id="@counter@b", name="counter"), turn=turn(0, at=10)),
        Commit(iid=iid(3), turn=turn(1, at=30)),
        Commit(iid=iid(4), insert=row(4, instance_id="@x@a", name="x"), turn=turn(0, at=40)),
        inserted(5, instance_id="Ab"),
    )
    assert [record.row.instance_id for record in (await store.query(where)).items] == found
    first = await store.query(where, limit=1)
    if first.continuation_token is not None:
        rest = await store.query(where, token=first.continuation_token)
        assert [record.row.instance_id for record in (*first.items, *rest.items)] == found


async def test_pages_of_instances(store: Store) -> None:
    """Every instance is on one page; the last page has no token."""
    await write(store, *(inserted(n) for n in range(1, 8)))
    seen: list[str] = []
    token = None
    for _ in range(4):
        page = await store.query(InstanceFilter(), limit=2, token=token)
        seen += [record.row.instance_id for record in page.items]
        token = page.continuation_token
    assert (seen, token) == ([f"i{n}" for n in range(7, 0, -1)], None)


async def test_waits_are_found_by_name_and_by_instance(store: Store) -> None:
    """Oldest first, without regard to case, and by pages."""
    await write(
        store,
        Commit(iid=iid(1), insert=row(1), turn=turn(0), waits_opened=(wait(1, 0, "A", 30), wait(1, 1, "b", 10))),
        Commit(iid=iid(2), insert=row(2), turn=turn(0), waits_opened=(wait(2, 0, "a", 20),)),
    )
    assert [each.since for each in (await store.waits()).items] == [10, 20, 30]
    assert [each.instance_id for each in (await store.waits(name="A")).items] == ["i2", "i1"]
    assert [each.name for each in (await store.waits(instance_id="i1")).items] == ["b", "A"]
    first = await store.waits(limit=2)
    assert [each.since for each in (await store.waits(token=first.continuation_token)).items] == [30]


async def test_dead_letters_go_by_pages_and_expire(store: Store) -> None:
    """Newest first; those recorded before a time can be removed."""
    letters = [DeadLetter("x", f"n{at}", None, None, at, at, DeadLetterReason.UNKNOWN_INSTANCE) for at in range(5)]
    await write(store, Commit(iid=0, dead_letters=tuple(letters)))
    page = await store.dead_letters(instance_id="x", limit=3)
    assert [each.name for each in page.items] == ["n4", "n3", "n2"]
    rest = await store.dead_letters(instance_id="x", limit=3, token=page.continuation_token)
    assert [each.name for each in rest.items] == ["n1", "n0"]
    assert await store.expire_dead_letters(3) == 3
    assert [each.name for each in (await store.dead_letters()).items] == ["n4", "n3"]


async def test_children_are_found_by_their_parents(store: Store) -> None:
    """Direct ones only."""
    await write(store, inserted(1), inserted(2, parent_instance_id="i1"), inserted(3, parent_instance_id="i2"))
    assert await store.children(["i1"]) == ["i2"]


@pytest.mark.parametrize("token", ["x", "1.2.3.4", "-1", "", "1;DROP TABLE instances"])
async def test_a_made_up_token_is_refused(store: Store, token: str) -> None:
    """With an error of the caller's, and nothing else."""
    with pytest.raises(InvalidInputError):
        await store.query(InstanceFilter(), token=token)
