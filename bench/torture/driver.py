"""Round after round: a hub is started, stories go on, it dies, and what it has left is checked."""

import asyncio
import random
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import bide
from bench.torture import checker
from bench.torture.checker import Instance, Seen
from bench.torture.connection import Connection
from bench.torture.failpoints import Failpoint
from bench.torture.journal import Journal, Story
from bench.torture.notes import NoteReader
from bench.torture.process import HubProcess, Setting
from bench.torture.stores import SqliteFiles, StoreUnderTest
from bench.torture.stories import PLOTS, Narrator, Plot, flood
from bide import InstanceNotFoundError


class Manner(StrEnum):
    """Ways to go besides the failpoints."""

    KILL = "kill -9 at a random moment"
    TERM = "SIGTERM"
    STOP = "SIGSTOP, SIGCONT, then kill -9"
    FULL = "no room on the disk for a while, then kill -9"
    FAULTY = "commits are refused now and then, then kill -9"


Death = Failpoint | Manner
COMMITS = 120
"""About so many commits a round makes on a quiet machine."""
_VISITS: dict[Failpoint, float] = {
    Failpoint.BEFORE_COMMIT: 1,
    Failpoint.INSIDE_COMMIT: 18,
    Failpoint.TORN_LOG: 1,
    Failpoint.AFTER_COMMIT: 1,
    Failpoint.BEFORE_EFFECT: 0.3,
    Failpoint.ANSWERED: 0.3,
    Failpoint.ACTIVITY_DONE: 0.3,
    Failpoint.TIMERS_DUE: 0.05,
    Failpoint.BEFORE_PURGE: 0.05,
    Failpoint.AFTER_PURGE: 0.05,
}
"""About so many times for every commit a point is visited; one of ours is some 18 statements to SQLite."""
_PATIENCE_SECONDS = 4
_END_SECONDS = 60
_LOOK_SECONDS = 0.02
_MOST_VIOLATIONS = 20


_Told = tuple[str, tuple[Any, ...] | None]
"""The id of an instance that has ended, and how; None: it is purged. An entity has ()."""


@dataclass
class Report:
    """What has happened so far; `deaths` counts those that came as they should, `taken_up` what they had left undone."""

    rounds: int = 0
    deaths: Counter[Death] = field(default_factory=Counter)
    stories: Counter[str] = field(default_factory=Counter)
    taken_up: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Driver:
    """Runs stories on the store of `folder`, over as many deaths as it is told."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        store: StoreUnderTest | None = None,
        lanes: int = 12,
        commits: int = COMMITS,
        kept: int = 150,
        on_round: Callable[[Report], None] | None = None,
    ) -> None:
        """`folder` is for the journal and the notes, and for the store unless one is given. `lanes` are how many stories go on
        at a time; a failpoint is hit within about so many `commits`; of what has ended so many are `kept`, and others purged.
        `on_round` is called after every round.
        """
        self.report = Report()
        self.store = store if store is not None else SqliteFiles(folder / "bide.db")
        self._folder = folder
        self._rng = random.Random(seed)
        self._lanes = lanes
        self._commits = commits
        self._kept = kept
        self._on_round = on_round
        self.journal = Journal(folder / "journal.jsonl", seed=seed)
        self._connection = Connection(self.journal, self._rng)
        self._notes = NoteReader(folder)
        self._told: deque[_Told] = deque()
        self._under_way: set[str] = set()
        self._wanted: Plot | None = None
        self._is_ending = False

    async def run(self, deaths: Iterable[Death]) -> Report:
        """Die in all these ways, one after the other, on one store; then let the stories end, and check everything."""
        lanes = [asyncio.create_task(self._tell(lane)) for lane in range(self._lanes)]
        self._janitor = asyncio.create_task(self._look_after())
        try:
            for death in deaths:
                await self._round(death)
                if len(self.report.violations) >= _MOST_VIOLATIONS:
                    break
            await self._end(lanes)
        finally:
            await _canceled(*lanes, self._janitor)
            self.journal.close()
        return self.report

    # Rounds

    async def _round(self, death: Death) -> None:
        if death is Failpoint.MIGRATION:
            self.store.downgrade()
        self._wanted = flood if death is Failpoint.UNDELIVERED else None  # others seldom come there
        hub = await HubProcess.start(self._setting(death))
        if hub.url is not None:
            self._connection.up(hub.url)
        try:
            code = await (self._failpoint(hub, death) if isinstance(death, Failpoint) else self._manner(hub, death))
        finally:
            await hub.kill()
            if hub.url is not None:
                await self._connection.down(hub.url)
        self.journal.note("death", [death, code])
        self.report.rounds += 1
        self._found(f"after {death}: the hub said: {line}" for line in hub.complaints())
        left = self.store.check()
        self.report.taken_up.update(messages=left.messages, activities=left.active)
        self._found(f"after {death}: {problem}" for problem in left.violations)
        if self._on_round is not None:
            self._on_round(self.report)

    def _setting(self, death: Death) -> Setting:
        point = death if isinstance(death, Failpoint) else None
        return Setting(
            store=self.store.url,
            folder=self._folder,
            failpoint=point,
            hit=self._hit(point) if point is not None else 1,
            seed=self._rng.randrange(1 << 30),
            is_faulty=death is Manner.FAULTY,
            max_resident=self._rng.choice((0, 3, 10_000)),
        )

    def _hit(self, point: Failpoint) -> int:
        return self._rng.randint(1, max(1, round(_VISITS.get(point, 0) * self._commits)))

    async def _failpoint(self, hub: HubProcess, point: Failpoint) -> int | None:
        if point.comes_at_close and hub.url is not None:
            await self._some_time()
            hub.send(signal.SIGTERM)
        code = await hub.end(_PATIENCE_SECONDS)
        expected = -signal.SIGXFSZ if point is Failpoint.TORN_LOG else -signal.SIGKILL
        if code == expected and hub.has_reached:
            self.report.deaths[point] += 1
        elif code is not None:
            self._found([f"at {point}: the hub ended by itself, with {code}"])
        return code

    async def _manner(self, hub: HubProcess, manner: Manner) -> int | None:
        if hub.url is None:
            self._found([f"the hub could not start: {await hub.end(1)}"])
            return None
        await self._some_time()
        if manner in _INTERLUDES:
            for number in _INTERLUDES[manner]:
                hub.send(number)
                await self._some_time()
        elif manner is Manner.TERM:
            return await self._terminate(hub)
        self.report.deaths[manner] += 1
        code = await hub.end(0)
        if code is not None:
            self._found([f"at {manner}: the hub ended by itself, with {code}"])
        return code

    async def _terminate(self, hub: HubProcess) -> int | None:
        """Let it close; it must do so in time, without an error, and leave an empty log."""
        hub.send(signal.SIGTERM)
        code = await hub.end(_END_SECONDS)
        self.report.deaths[Manner.TERM] += code == 0
        left = self.store.leftovers()
        if code != 0 or left:
            self._found([f"SIGTERM: the hub ended with {code}", *left])
        return code

    async def _some_time(self) -> None:
        await asyncio.sleep(self._rng.random() ** 2)

    async def _end(self, lanes: list[asyncio.Task[None]]) -> None:
        """Let a hub live until all stories have ended."""
        self._is_ending = True
        hub = await HubProcess.start(Setting(store=self.store.url, folder=self._folder))
        if hub.url is None:
            self._found([f"the hub could not start: {await hub.end(1)}"])
            return
        self._connection.up(hub.url)
        try:
            _, late = await asyncio.wait(lanes, timeout=_END_SECONDS)
            if late:
                self._found(f"{story} does not end" for story in sorted(self._under_way))
            await _canceled(self._janitor)
            for instance_id, fingerprint in self._told:
                await self._look_again(instance_id, fingerprint)
            await self._terminate(hub)
        finally:
            await hub.kill()
            await self._connection.down(hub.url)
        self._found(f"at the end: the hub said: {line}" for line in hub.complaints())
        self._found(f"at the end: {problem}" for problem in self.store.check().violations)

    # Stories

    async def _tell(self, lane: int) -> None:
        """Tell one story after the other."""
        rng = random.Random(self._rng.random())
        number = 0
        while not self._is_ending:
            plot = self._wanted or rng.choices(list(PLOTS), list(PLOTS.values()))[0]
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
        self.report.stories[story.kind] += 1
        self._found(checker.check(story, seen))
        self._told.extend((instance_id, each.fingerprint) for instance_id, each in seen.instances.items())
        self._told.extend((entity, ()) for entity in story.entities)
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
                instance_id, fingerprint = self._told.popleft()
                await self._look_again(instance_id, fingerprint)
                if fingerprint is not None and len(self._told) > self._kept:
                    await narrator.purge(instance_id)
                    self._found(self._refused(story))
                    fingerprint = None
                if fingerprint is not None or len(self._told) < 2 * self._kept:
                    self._told.append((instance_id, fingerprint))

    async def _look_again(self, instance_id: str, fingerprint: tuple[Any, ...] | None) -> None:
        """What has ended stays as it is; what was purged stays away."""
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

    def _refused(self, story: Story) -> list[str]:
        deed = story.deeds.pop()
        return [] if deed.outcome == "accepted" else [f"{deed.verb} {deed.target}: {deed.outcome} {deed.answer}"]

    def _found(self, violations: Iterable[str]) -> None:
        for violation in violations:
            self.report.violations.append(violation)
            self.journal.note("violation", violation)
            folder = self._folder / f"violation-{len(self.report.violations)}"
            folder.mkdir()
            self.store.keep(folder)


_INTERLUDES = {
    Manner.STOP: (signal.SIGSTOP, signal.SIGCONT),
    Manner.FULL: (signal.SIGUSR1, signal.SIGUSR2),
}


async def _canceled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _fingerprint(status: bide.OrchestrationStatus) -> tuple[Any, ...]:
    failure = status.failure.error_type if status.failure is not None else None
    return status.runtime_status.label, status.output, status.custom_status, failure
