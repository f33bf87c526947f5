"""Stories that go on side by side, and what has ended and must stay as it is."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import bide
from bench.torture import checker
from bench.torture.checker import Instance, Seen
from bench.torture.connection import Connection
from bench.torture.journal import Story
from bench.torture.notes import NoteReader
from bench.torture.stories import PLOTS, Narrator, Plot
from bide import InstanceNotFoundError

_LOOK_SECONDS = 0.02


class Lanes:
    """Each lane tells one story after the other, and has it checked. `found` is told of violations."""

    def __init__(
        self,
        count: int,
        connection: Connection,
        folder: Path,
        rng: random.Random,
        found: Callable[[Iterable[str]], None],
        *,
        kept: int = 150,
    ) -> None:
        """Of what has ended so many instances are `kept`, and others purged."""
        self.wanted: Plot | None = None
        """What is told next, instead of what comes up."""
        self.stories: Counter[str] = Counter()
        """How many have ended, by kind."""
        self._count = count
        self._kept = kept
        self._folder = folder
        self._connection = connection
        self._rng = rng
        self._found = found
        self._notes = NoteReader(folder)
        self._told: deque[_Told] = deque()
        self._under_way: set[str] = set()
        self._is_ending = False
        self._lanes: list[asyncio.Task[None]] = []
        self._janitor: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._lanes = [asyncio.create_task(self._tell(lane)) for lane in range(self._count)]
        self._janitor = asyncio.create_task(self._look_after())

    async def end(self, seconds: float) -> None:
        """Let all stories end, within so many seconds, and look at everything once more."""
        self._is_ending = True
        _, late = await asyncio.wait(self._lanes, timeout=seconds)
        if late:
            self._found(f"{story} does not end" for story in sorted(self._under_way))
        if self._janitor is not None:
            await _canceled(self._janitor)
        for told in self._told:
            await self._look_again(told)

    async def close(self) -> None:
        await _canceled(*self._lanes, *filter(None, [self._janitor]))

    # Stories

    async def _tell(self, lane: int) -> None:
        """Tell one story after the other."""
        rng = random.Random(self._rng.random())
        number = 0
        while not self._is_ending:
            plot = self.wanted or rng.choices(list(PLOTS), list(PLOTS.values()))[0]
            story = Story(f"{lane}-{number}", plot.__name__)
            self._under_way.add(story.name)
            try:
                await plot(Narrator(story, self._connection, rng, self._folder))
                await self._judge(story)
            except bide.BideError as error:
                self._found([f"{story.kind} {story.name}: {type(error).__name__}: {error}"])
            self._under_way.discard(story.name)
            number += 1

    async def _judge(self, story: Story) -> None:
        seen = await self._see(story)
        self.stories[story.kind] += 1
        self._found(checker.check(story, seen))
        may_purge = all(deed.tries == 1 for deed in story.deeds)  # a late copy of "start" would begin it anew
        self._told.extend(_Told(id_, each.fingerprint, may_purge) for id_, each in seen.instances.items())
        self._told.extend(_Told(entity, (), may_purge) for entity in story.entities)
        self._notes.forget(story.instances)

    async def _see(self, story: Story) -> Seen:
        notes = self._notes.of(story.instances)
        instances = {each: await self._instance(each, notes[each]) for each in story.instances}
        entities = {}
        for each in story.entities:
            status = await self._connection.ask(lambda client, id_=each: client.get_entity(id_))
            entities[each] = status.state if status is not None else None
        return Seen(instances, entities)

    async def _instance(self, instance_id: str, notes: list[tuple[int, dict]]) -> Instance:
        status = await self._connection.ask(lambda client: client.get_status(instance_id))
        letters = await self._connection.ask(
            lambda client: client.dead_letters(instance_id=instance_id, page_size=1000)
        )
        return Instance(
            *_fingerprint(status),
            letters=tuple((each.data, each.reason.value) for each in reversed(letters.items)),
            notes=tuple(notes),
        )

    # What has ended

    async def _look_after(self) -> None:
        """Look again and again at what has ended, and purge what is too much."""
        story = Story("janitor", "janitor")
        narrator = Narrator(story, self._connection, self._rng, self._folder)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._told:
                told = self._told.popleft()
                await self._look_again(told)
                if told.fingerprint is not None and told.may_purge and len(self._told) > self._kept:
                    await narrator.purge(told.instance_id)
                    self._found(_refused(story))
                    told = told._replace(fingerprint=None)
                if told.fingerprint is not None or len(self._told) < 2 * self._kept:
                    self._told.append(told)

    async def _look_again(self, told: "_Told") -> None:
        """What has ended stays as it is; what was purged stays away."""
        instance_id, fingerprint, _ = told
        if instance_id.startswith("@"):
            entity = await self._connection.ask(lambda client: client.get_entity(instance_id))
            if (entity is None) is not (fingerprint is None):
                self._found([f"{instance_id} was {'purged' if fingerprint is None else 'there'}, and is {entity}"])
            return
        try:
            now = _fingerprint(await self._connection.ask(lambda client: client.get_status(instance_id)))
        except InstanceNotFoundError:
            now = None
        if now != fingerprint:
            self._found([f"{instance_id} had ended with {fingerprint}, and is now {now}"])


class _Told(NamedTuple):
    """What has ended, and how; None: it was purged."""

    instance_id: str
    fingerprint: tuple[Any, ...] | None
    may_purge: bool


def _refused(story: Story) -> list[str]:
    deed = story.deeds.pop()
    return [] if deed.outcome == "accepted" else [f"{deed.verb} {deed.target}: {deed.outcome} {deed.answer}"]


async def _canceled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _fingerprint(status: bide.OrchestrationStatus) -> tuple[Any, ...]:
    failure = status.failure.error_type if status.failure is not None else None
    return status.runtime_status.label, status.output, status.custom_status, failure
