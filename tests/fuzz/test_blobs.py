"""What a store holds, with bytes changed: one instance suffers at most, and nobody else."""

import asyncio
import contextlib
from datetime import timedelta

import httpx
import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.budget import tries
from tests.http.conftest import app

from bide import BideError
from bide.client.paths import BASE
from bide.http.routes import create_app
from bide.model.codec import decode_turn
from bide.model.commit import Turn
from bide.model.entities import LockRequest, OperationRequest, TaskAddress
from bide.model.messages import (
    Begin,
    Purge,
    RaiseEvent,
    RequestEntity,
    Rewind,
    StartInstance,
    TakeUp,
    TaskDone,
    TaskKind,
    Terminate,
    TimersDue,
    UnlockEntity,
    decode_message,
    encode_message,
)
from bide.store import MemoryStore
from bide.testing import Harness

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw, blob):
    """Bytes changed, cut off or put in; or a value of its MessagePack put in the place of another."""
    if draw(st.booleans()):
        return msgspec.msgpack.encode(draw(_mutated_value(msgspec.msgpack.decode(blob))))
    data = bytearray(blob)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


def _mutated_value(value):
    """Replace one value somewhere inside."""
    places = [values]
    if isinstance(value, list) and value:
        places.extend(
            _mutated_value(each).map(lambda new, at=at: [*value[:at], new, *value[at + 1 :]])
            for at, each in enumerate(value)
        )
        places.append(st.permutations(value))
        places.append(st.integers(0, len(value) - 1).map(lambda at: value[:at] + value[at + 1 :]))
    elif isinstance(value, dict) and value:
        places.extend(_mutated_value(each).map(lambda new, key=key: value | {key: new}) for key, each in value.items())
    elif isinstance(value, int):
        places.append(st.integers(0, 45))
    return st.one_of(places)


async def filled() -> MemoryStore:
    """Make a store with instances in several states, all called something with `bad`, and one `good`."""
    store = MemoryStore()
    async with Harness(app, store) as harness:
        client = harness.client
        for name in ("bad-waiting", "bad-buffering", "bad-ended", "good"):
            await client.start_new("gate", name, {"a": 1})
        await client.start_new("failing", "bad-failed")
        await client.start_new("locker", "bad-locker")
        await client.raise_event("bad-buffering", "Other", [1], event_id="e")
        await client.raise_event("bad-ended", "Approval", True)
        await client.signal_entity("@counter@bad", "add", 1)
        await client.signal_entity("@counter@bad", "add", 1, scheduled_time=timedelta(days=1))
        await harness.run_until_idle()
    return store


FILLED = asyncio.run(filled())
BAD = [row.instance_id for row in FILLED._rows.values() if "bad" in row.instance_id]


def copy_of(store: MemoryStore) -> MemoryStore:
    """Copy what a closed store holds; the values themselves never change."""
    copy = MemoryStore()
    for name in ("_rows", "_turns", "_waits"):
        setattr(
            copy,
            name,
            {
                key: value.copy() if isinstance(value, list | dict) else value
                for key, value in getattr(store, name).items()
            },
        )
    for name in ("_ids", "_event_ids", "_dead_letters", "_inbox"):
        setattr(copy, name, getattr(store, name).copy())
    copy._last_iid, copy._last_letter = store._last_iid, store._last_letter
    return copy


async def use(harness: Harness, http: httpx.AsyncClient, bad: list[str]) -> None:
    """Ask everything about everybody, and do everything to the bad ones: no answer is a failure of ours."""
    paths = ["instances", "instances?showInput=false", "waits", "deadLetters", "entities?fetchState=true"]
    for each in bad:
        paths += [f"instances/{each}", f"instances/{each}?showInput=false", f"instances/{each}/history"]
        paths += [f"instances/{each}?showHistory=true&showHistoryOutput=true"]
    for path in paths:
        answer = await http.get(path)
        assert answer.status_code != 500, (path, answer.text)
        assert "instances?" not in path or "good" in answer.text, answer.text
    calls = [
        call(each)
        for each in bad
        for call in (
            lambda each: harness.client.raise_event(each, "Approval", 1, event_id="e"),
            harness.client.suspend,
            harness.client.resume,
            harness.client.rewind,
            harness.client.restart,
            harness.client.terminate,
        )
    ]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert not isinstance(result, BaseException) or isinstance(result, BideError), result
    await harness.advance(timedelta(days=2))


async def still_works(harness: Harness) -> None:
    for name in ("good", "new"):
        for _ in range(3):  # a pass that failed may be tried again
            with contextlib.suppress(BideError):
                if name == "new":
                    await harness.client.start_new("gate", name)
                await harness.client.raise_event(name, "Approval", name)
        assert (await harness.client.wait_for_completion(name, timeout=10)).output == name


@tries(60)
@given(st.data())
async def test_an_instance_whose_history_cannot_be_read_harms_no_other(data):
    """Whatever is asked and done, nothing is a failure of ours (500), and it can be purged."""
    store = copy_of(FILLED)
    bad = data.draw(st.sampled_from(BAD))
    turns = store._turns[store._ids[bad]]
    at = data.draw(st.integers(0, len(turns) - 1))
    turns[at] = Turn(turns[at].seq, turns[at].at, data.draw(mutated(turns[at].data)))
    async with Harness(app, store) as harness:
        transport = httpx.ASGITransport(create_app(lambda: harness.client))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://localhost{BASE}/") as http:
            await use(harness, http, [bad] if bad[0] != "@" else [])
        await still_works(harness)
        await harness.client.purge(bad, force=True)


ADDRESS = TaskAddress("bad-locker", "x", 1)
START = StartInstance(
    instance_id="bad-child",
    name="gate",
    execution_id="x",
    input="1",
    parent_instance_id="bad-waiting",
    parent_task_id=0,
    parent_execution_id="x",
    tags={"a": "b"},
)
MESSAGES = [
    START,
    RaiseEvent(instance_id="bad-waiting", iid=1, name="Approval", input="1", event_id="f"),
    Terminate(instance_id="bad-waiting", reason="r", recursive=True),
    TaskDone(instance_id="bad-waiting", execution_id="x", task_id=1, result="1"),
    TaskDone(instance_id="bad-waiting", execution_id="x", task_id=1, kind=TaskKind.LOCK, entities=("@counter@bad",)),
    TimersDue(instance_id="bad-waiting"),
    Begin(instance_id="bad-waiting", execution_id="x"),
    Rewind(instance_id="bad-failed"),
    TakeUp(instance_id="bad-failed", start=START),
    Purge(instance_id="bad-ended"),
    RequestEntity(instance_id="@counter@bad", request=OperationRequest("o", "add", "1", ADDRESS)),
    RequestEntity(instance_id="@counter@bad", request=LockRequest(ADDRESS, ("@counter@bad", "@counter@b"))),
    UnlockEntity(instance_id="@counter@bad", owner=ADDRESS),
]


@tries(60)
@given(st.data())
async def test_a_message_in_the_inbox_that_cannot_be_read_stops_nobody(data):
    """The hub opens, and others are served."""
    store = copy_of(FILLED)
    for key in range(1, data.draw(st.integers(2, 4))):
        store._inbox[key] = data.draw(mutated(encode_message(data.draw(st.sampled_from(MESSAGES)))))
    async with Harness(app, store) as harness:
        await harness.run_until_idle()
        await still_works(harness)


@tries(300)
@given(
    st.sampled_from(BAD).flatmap(lambda bad: mutated(FILLED._turns[FILLED._ids[bad]][0].data)) | st.binary(max_size=50)
)
def test_histories_are_read_or_refused(blob):
    with contextlib.suppress(msgspec.DecodeError):
        decode_turn(blob)


@tries(300)
@given(st.sampled_from(MESSAGES).flatmap(lambda message: mutated(encode_message(message))) | st.binary(max_size=50))
def test_messages_are_read_or_refused(blob):
    with contextlib.suppress(msgspec.DecodeError):
        decode_message(blob)
