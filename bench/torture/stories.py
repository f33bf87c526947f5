"""What is done to bide: each story uses some instances of the torture's app, from their beginning to their end.

A story goes on over any number of deaths: a request without an answer is sent again, as a careful client does, with the same
instance id or event id. Some are sent once only; those may be lost, and the checker knows which.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bide
from bench.torture.connection import Connection, Request
from bench.torture.journal import Deed, Story
from bench.torture.notes import mend
from bide import IdReusePolicy, InstanceEndedError, InstanceExistsError, InstanceNotFoundError, InstanceStateError

_LOOK_AGAIN_SECONDS = 0.02
_LONGEST_LOOK_SECONDS = 3
STOP = "stop"
MORE_THAN_A_PASS = 300
"""Messages between instances; those that a pass does not handle any more go into the inbox."""


class Narrator:
    """Tells one story: carries out its deeds and writes them down."""

    def __init__(self, story: Story, connection: Connection, rng: random.Random, folder: Path) -> None:
        """`folder` is where activities leave their notes."""
        self.story = story
        self.rng = rng
        self._connection = connection
        self._folder = folder

    async def start(
        self, orchestrator: str, instance_id: str, what: Any = None, *, start_at: datetime | None = None
    ) -> None:
        def request(client: bide.Client) -> Awaitable[str]:
            return client.start_new(orchestrator, instance_id, what, start_at=start_at, id_reuse=IdReusePolicy.REJECT)

        self.story.instances.append(instance_id)
        begin = start_at.timestamp() if start_at is not None else None
        await self._do("start", instance_id, [orchestrator, what, begin], request, done_by=InstanceExistsError)

    async def send(self, instance_id: str, name: str, data: Any, *, verb: str = "raise") -> Deed:
        """Raise an event with an id, which its data makes, until it is answered."""
        event_id = f"{name}-{data}".casefold()

        async def request(client: bide.Client) -> bool:
            return (await client.raise_event(instance_id, name, data, event_id=event_id)).is_duplicate

        return await self._do(verb, instance_id, [name, data], request)

    async def send_once(self, instance_id: str, name: str, data: Any) -> Deed:
        """Raise an event without an id; it is not repeated."""

        async def request(client: bide.Client) -> bool:
            return (await client.raise_event(instance_id, name, data)).is_duplicate

        return await self._do("raise", instance_id, [name, data], request, once=True)

    async def signal_once(self, entity: str, operation: str, data: Any) -> None:
        await self._do("signal", entity, data, lambda client: client.signal_entity(entity, operation, data), once=True)

    async def suspend(self, instance_id: str) -> None:
        await self._do("suspend", instance_id, None, lambda client: client.suspend(instance_id))

    async def resume(self, instance_id: str) -> None:
        await self._do("resume", instance_id, None, lambda client: client.resume(instance_id))

    async def terminate(self, instance_id: str) -> None:
        def request(client: bide.Client) -> Awaitable[None]:
            return client.terminate(instance_id, "enough")

        await self._do("terminate", instance_id, None, request, done_by=InstanceEndedError)

    async def rewind(self, instance_id: str) -> None:
        """Take it up again, after what let it fail has been mended."""
        mend(self._folder, instance_id)
        done_by = (InstanceStateError, InstanceEndedError)
        await self._do("rewind", instance_id, None, lambda client: client.rewind(instance_id), done_by=done_by)

    async def purge(self, instance_id: str) -> None:
        def request(client: bide.Client) -> Awaitable[int]:
            return client.purge(instance_id, force=instance_id.startswith("@"))

        await self._do("purge", instance_id, None, request, done_by=InstanceNotFoundError)

    async def look(self, instance_id: str) -> None:
        """Note what the instance shows at this moment."""

        async def request(client: bide.Client) -> Any:
            return (await client.get_status(instance_id)).custom_status

        await self._do("look", instance_id, None, request)

    async def ended(self, *instance_ids: str) -> None:
        for instance_id in instance_ids:
            while not await self._has_ended(instance_id):
                if any(deed.target == instance_id and deed.tries > 1 for deed in self.story.done("suspend")):
                    await self._resume_again(instance_id)

    async def _has_ended(self, instance_id: str) -> bool:
        """Wait for a while; then somebody else is asked, because this one may hang."""
        try:
            async with asyncio.timeout(_LONGEST_LOOK_SECONDS):
                await self._connection.ask(lambda client: client.wait_for_completion(instance_id))
        except TimeoutError:
            return False
        return True

    async def _resume_again(self, instance_id: str) -> None:
        """Take back what a second copy of a request may have done, that came late."""
        with contextlib.suppress(InstanceEndedError):
            await self._connection.ask(lambda client: client.resume(instance_id))

    async def exists(self, instance_id: str) -> None:
        """Wait until an instance is there that another one starts."""
        self.story.instances.append(instance_id)
        while True:
            try:
                await self._connection.ask(lambda client: client.get_status(instance_id))
            except InstanceNotFoundError:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            else:
                return

    async def state_is(self, entity: str, is_it: Callable[[Any], bool]) -> None:
        """Wait until an entity's state is so."""
        self.story.entities.append(entity)
        while True:
            status = await self._connection.ask(lambda client: client.get_entity(entity))
            if status is not None and is_it(status.state) and not status.backlog:
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _do(
        self,
        verb: str,
        target: str,
        what: Any,
        request: Request[Any],
        *,
        once: bool = False,
        done_by: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> Deed:
        deed = Deed(self.story.name, len(self.story.deeds), verb, target, what)
        self.story.deeds.append(deed)
        await self._connection.do(deed, request, once=once, done_by=done_by)
        return deed


Plot = Callable[[Narrator], Awaitable[None]]


async def stream(tell: Narrator) -> None:
    """Numbers to one consumer: with and without ids, repeated, while it is suspended, from other instances; then its end."""
    name, rng, numbers, relays = tell.story.name, tell.rng, iter(range(100_000)), []
    await tell.start("stream", name)
    sent = []
    for _ in range(rng.randint(3, 30)):
        match rng.choices(("send", "once", "again", "suspend", "relay", "look"), (10, 2, 2, 1, 1, 1))[0]:
            case "send":
                sent.append((await tell.send(name, "n", next(numbers))).what[1])
            case "once":
                await tell.send_once(name, "n", next(numbers))
            case "again" if sent:
                await tell.send(name, "n", rng.choice(sent), verb="repeat")
            case "suspend":
                await tell.suspend(name)
                sent += [(await tell.send(name, "N", next(numbers))).what[1] for _ in range(rng.randint(0, 4))]
                await tell.resume(name)
            case "relay":
                relays.append(f"{name}-relay{len(relays)}")
                values = [f"{relays[-1]}:{number}" for number in range(rng.choice((1, 5, 40)))]
                await tell.start("relay", relays[-1], [name, values])
            case "look":
                await tell.look(name)
    await tell.ended(*relays)
    await (tell.terminate(name) if rng.random() < 0.3 else tell.send(name, "n", STOP))
    await tell.ended(name)
    await tell.send_once(name, "n", next(numbers))


async def flood(tell: Narrator) -> None:
    """So many values at once from another instance that some must wait in the store."""
    name = tell.story.name
    await tell.start("stream", name)
    await tell.start("relay", f"{name}-relay", [name, [f"relay:{number}" for number in range(MORE_THAN_A_PASS)]])
    await tell.ended(f"{name}-relay")
    await tell.send(name, "n", STOP)
    await tell.ended(name)
    await tell.send_once(name, "n", 0)


async def gates(tell: Narrator) -> None:
    """Three gates and one more, in any order, also to one that begins later."""
    name, rng = tell.story.name, tell.rng
    await tell.start("gates", name, start_at=_later(rng))
    await _in_any_order(tell, name, ["A", "B", "C", "a"])
    await tell.ended(name)


async def race(tell: Narrator) -> None:
    name = tell.story.name
    await tell.start("race", name)
    await _in_any_order(tell, name, ["One", "Other"])
    await tell.ended(name)


async def _in_any_order(tell: Narrator, instance_id: str, names: list[str]) -> None:
    for number, name in enumerate(tell.rng.sample(names, len(names))):
        await tell.send(instance_id, name, number)


def _later(rng: random.Random) -> datetime | None:
    return datetime.now(UTC) + timedelta(seconds=rng.random()) if rng.random() < 0.3 else None


async def nap(tell: Narrator) -> None:
    """Several sleepers of different lengths."""
    names = [f"{tell.story.name}-{number}" for number in range(4)]
    for name in names:
        await tell.start("nap", name, round(tell.rng.random(), 3), start_at=_later(tell.rng))
    await tell.ended(*names)


async def family(tell: Narrator) -> None:
    name = tell.story.name
    children = [f"{name}-child{number}" for number in range(tell.rng.randint(1, 5))]
    await tell.start("family", name, children)
    for child in tell.rng.sample(children, len(children)):
        await tell.exists(child)
        await tell.send(child, "Go", child)
    await tell.exists(f"{name}-doomed")
    await tell.ended(name)


async def ledger(tell: Narrator) -> None:
    """Tokens from several orchestrations and from outside, into one entity."""
    name, rng = tell.story.name, tell.rng
    entity, count = f"@ledger@{name}", rng.randint(1, 12)
    tellers = [f"{name}-teller{number}" for number in range(rng.randint(1, 3))]
    for teller in tellers:
        await tell.start("teller", teller, [entity, teller, count])
    for number in range(rng.randint(1, 10)):
        await tell.signal_once(entity, "add", f"outside-{number}")
    await tell.ended(*tellers)
    expected = {deed.what for deed in tell.story.done("signal") if deed.outcome == "accepted"}
    expected.update(f"{teller}-{kind}{number}" for teller in tellers for kind in "sc" for number in range(count))
    await tell.state_is(entity, expected.issubset)


async def transfer(tell: Narrator) -> None:
    """Two orchestrations move money between the same accounts, in opposite directions."""
    name, rng = tell.story.name, tell.rng
    left, right = f"@account@{name}-left", f"@account@{name}-right"
    for number, (source, target) in enumerate(((left, right), (right, left))):
        amounts = [rng.randint(1, 50) for _ in range(rng.randint(1, 5))]
        await tell.start("transfer", f"{name}-{number}", [source, target, amounts])
    await tell.ended(*tell.story.instances)
    for entity in (left, right):
        await tell.state_is(entity, lambda _: True)


async def fragile(tell: Narrator) -> None:
    """What fails, or whose child's child fails, is taken up where it failed."""
    name, depth = tell.story.name, tell.rng.randint(0, 2)
    await tell.start("fragile", name, [depth, name])
    for child in range(depth):
        await tell.exists(f"{name}-{child}")
    await tell.ended(name)
    await tell.rewind(name)
    await tell.ended(*tell.story.instances)


async def doomed(tell: Narrator) -> None:
    await tell.start("doomed", tell.story.name, "as it should")
    await tell.ended(tell.story.name)


PLOTS: dict[Plot, int] = {
    stream: 8, flood: 1, gates: 2, race: 1, nap: 2, family: 2, ledger: 3, transfer: 2, fragile: 2, doomed: 1,
}  # fmt: skip
"""How often each is told, in relation to the others."""
