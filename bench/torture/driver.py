"""Round after round: a hub is started, stories go on, it dies, and what it has left is checked."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from bench.torture.connection import Connection
from bench.torture.failpoints import Failpoint
from bench.torture.journal import Journal
from bench.torture.lanes import Lanes
from bench.torture.process import HubProcess, Setting
from bench.torture.stores import SqliteFiles, StoreUnderTest
from bench.torture.stories import flood


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
_MOST_VIOLATIONS = 20


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
        self._commits = commits
        self._on_round = on_round
        self.journal = Journal(folder / "journal.jsonl", seed=seed)
        self._connection = Connection(self.journal, self._rng)
        self._lanes = Lanes(lanes, self._connection, folder, self._rng, self._found, kept=kept)
        self.report.stories = self._lanes.stories

    async def run(self, deaths: Iterable[Death]) -> Report:
        """Die in all these ways, one after the other, on one store; then let the stories end, and check everything."""
        self._lanes.start()
        try:
            for death in deaths:
                await self._round(death)
                if len(self.report.violations) >= _MOST_VIOLATIONS:
                    break
            await self._end()
        finally:
            await self._lanes.close()
            self.journal.close()
        return self.report

    # Rounds

    async def _round(self, death: Death) -> None:
        if death is Failpoint.MIGRATION:
            self.store.downgrade()
        self._lanes.wanted = flood if death is Failpoint.UNDELIVERED else None  # others seldom come there
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
        elif code is not None and not (code == 0 and point is Failpoint.CLOSING_CHECKPOINT):  # else it was done sooner
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

    async def _end(self) -> None:
        """Let a hub live until all stories have ended."""
        hub = await HubProcess.start(Setting(store=self.store.url, folder=self._folder))
        if hub.url is None:
            self._found([f"the hub could not start: {await hub.end(1)}"])
            return
        self._connection.up(hub.url)
        try:
            await self._lanes.end(_END_SECONDS)
            await self._terminate(hub)
        finally:
            await hub.kill()
            await self._connection.down(hub.url)
        self._found(f"at the end: the hub said: {line}" for line in hub.complaints())
        self._found(f"at the end: {problem}" for problem in self.store.check().violations)

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
