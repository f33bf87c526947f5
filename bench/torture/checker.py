"""Proves, from what was asked and answered, that what is in the store is what must be there.

It knows nothing of processes, stores or deaths: a `Story` says what was asked, `Seen` what became of it. So it serves for one
process as for many on one store, and is tested with stories that went wrong.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.torture.journal import Deed, Outcome, Story
from bench.torture.notes import AT

Letter = tuple[Any, str]
"""The data of a dead letter, and the reason."""


@dataclass(frozen=True)
class Instance:
    """What an instance is when its story has ended; `notes` are those of its activities, with their steps."""

    status: str
    output: Any
    custom_status: Any
    failure: str | None
    letters: tuple[Letter, ...]
    notes: tuple[tuple[int, dict], ...]

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """What must never change again."""
        return self.status, self.output, self.custom_status, self.failure


@dataclass(frozen=True)
class Seen:
    instances: dict[str, Instance]
    entities: dict[str, Any]


def check(story: Story, seen: Seen) -> list[str]:
    """Everything that is not as it must be, in words that name the story and the instance."""
    try:
        problems = [*_deeds(story), *_CHECKS[story.kind](story, seen)]
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # an output that is not of its shape
        problems = [f"{type(error).__name__}: {error} in {seen}"]
    return [f"{story.kind} {story.name}: {problem}" for problem in problems]


def _deeds(story: Story) -> Iterator[str]:
    """Nothing is refused that should not be; an event id that was accepted is known from then on."""
    for deed in story.deeds:
        if deed.outcome is None or (deed.outcome is Outcome.REFUSED and deed.answer != _may_be_refused(deed, story)):
            yield f"{deed.verb} {deed.target} {deed.what}: {deed.outcome} {deed.answer}"
        if deed.verb == "repeat" and deed.answer is not True:
            yield f"event {deed.what} was accepted before, and a second time"
        if deed.verb == "raise" and deed.tries == 1 and deed.answer is True:
            yield f"event {deed.what} was called a duplicate the first time"


def _may_be_refused(deed: Deed, story: Story) -> str | None:
    return "InstanceEndedError" if story.kind in {"stream", "flood"} and deed is story.deeds[-1] else None


def _completed(instance_id: str, seen: Seen) -> Any:
    instance = seen.instances[instance_id]
    if instance.status != "Completed":
        raise ValueError(f"{instance_id} is {instance.status}: {instance.failure} {instance.output!r}")
    return instance.output


def _ran(instance_id: str, step: int, result: Any, seen: Seen) -> Iterator[str]:
    """An activity whose result is there has run: it has left a note with this very result."""
    if (step, result) not in seen.instances[instance_id].notes:
        yield f"{instance_id} has a result at step {step} that no activity gave: {result!r}"


# Streams


def _stream(story: Story, seen: Seen) -> Iterator[str]:
    instance = seen.instances[story.name]
    if instance.status == "Completed":
        consumed = [value for value, _ in instance.output]
        yield from _activities(story.name, instance.output, seen)
    elif instance.status == "Terminated":
        consumed = instance.custom_status
    else:
        raise ValueError(f"it is {instance.status}: {instance.failure}")
    dead = [value for value, reason in instance.letters if _was_accepted(value, reason)]
    yield from _exactly_once(story, consumed, dead)
    yield from _in_order(story, consumed, dead)
    yield from _growing(story, consumed)
    yield from _late(story, instance)


def _was_accepted(value: Any, reason: str) -> bool:
    """What a relay sent was accepted with the relay's turn, and may arrive after the end."""
    return value != "stop" and (reason == "unconsumed" or (reason == "instance-ended" and isinstance(value, str)))


def _activities(instance_id: str, output: list[Any], seen: Seen) -> Iterator[str]:
    for step, (value, result) in enumerate(output, 1):
        if step % 3 == 0:
            yield from _ran(instance_id, step, result, seen)
        elif result is not None:
            yield f"{value} has a result of an activity that was not asked for"


def _exactly_once(story: Story, consumed: list[Any], dead: list[Any]) -> Iterator[str]:
    """Every event that was accepted is consumed, or a dead letter; none twice; none that was never sent."""
    must, may = _sent(story)
    found = Counter([*consumed, *dead])
    for value in must:
        if found[value] != 1:
            yield f"event {value} was accepted, and is there {found[value]} times"
    for value, times in found.items():
        if value not in must and (value not in may or times > 1):
            yield f"event {value} is there {times} times, and was {'sent once' if value in may else 'never sent'}"


def _sent(story: Story) -> tuple[set[Any], set[Any]]:
    """Values that must have arrived, and those that may have."""
    must: set[Any] = set()
    may: set[Any] = set()
    for deed in story.done("raise"):
        if deed.what[1] != "stop" and deed.outcome is not Outcome.REFUSED:
            (must if deed.outcome is Outcome.ACCEPTED else may).add(deed.what[1])
    for deed in story.done("start"):
        orchestrator, what, _ = deed.what
        if orchestrator == "relay":
            must.update(what[1])
    return must, may


def _in_order(story: Story, consumed: list[Any], dead: list[Any]) -> Iterator[str]:
    """Those of one sender, in the order in which he sent them; what is a dead letter came after all that was consumed.

    What he has had no answer to may be under way for long, and come at any time.
    """
    _, lost = _sent(story)
    for sender, values in _by_sender(value for value in [*consumed, *dead] if value not in lost).items():
        for before, after in pairwise(values):
            if before >= after:
                yield f"of {sender or 'the client'}, event {after} comes after event {before}"


def _by_sender(values: Iterable[Any]) -> dict[str, list[int]]:
    senders: dict[str, list[int]] = {}
    for value in values:
        sender, _, number = str(value).rpartition(":")
        senders.setdefault(sender, []).append(int(number))
    return senders


def _growing(story: Story, consumed: list[Any]) -> Iterator[str]:
    """What was seen to be consumed stays so."""
    for deed in story.done("look"):
        if deed.answer != consumed[: len(deed.answer)]:
            yield f"{deed.answer} had been consumed, and now {consumed}"


def _late(story: Story, instance: Instance) -> Iterator[str]:
    """An event that came too late is refused, and is a dead letter."""
    last = story.deeds[-1]
    there = sum(value == last.what[1] and reason == "instance-ended" for value, reason in instance.letters)
    if last.outcome is Outcome.ACCEPTED or (last.outcome is Outcome.REFUSED and there != 1) or there > 1:
        yield f"event {last.what} came too late, was {last.outcome}, and is {there} dead letters"


# The others


def _gates(story: Story, seen: Seen) -> Iterator[str]:
    output = _completed(story.name, seen)
    sent = [tuple(deed.what) for deed in story.done("raise")]
    first, second = [data for name, data in sent if name in "Aa"]
    others = dict(sent)
    if output[:4] != [first, others["B"], others["C"], second]:
        yield f"it was sent {sent}, and got {output[:4]}"
    yield from _ran(story.name, 0, output[4], seen)
    yield from _not_before(story, story.name, output[4][AT])


def _race(story: Story, seen: Seen) -> Iterator[str]:
    if (output := _completed(story.name, seen)) != [0, 1]:
        yield f"it got {output}: the first must win, and the other one must not be swallowed"


def _nap(story: Story, seen: Seen) -> Iterator[str]:
    for name in story.instances:
        *times, default, done = _completed(name, seen)
        began, wake_at, woke, late_at, given_up = times
        if not (began <= wake_at <= woke <= late_at <= given_up <= done[AT]) or default != "late":
            yield f"{name} woke early: {times}, {default}, {done[AT]}"
        yield from _ran(name, 0, done, seen)
        yield from _not_before(story, name, began)


def _not_before(story: Story, instance_id: str, began: float) -> Iterator[str]:
    for deed in story.done("start"):
        start_at = deed.what[2]
        if deed.target == instance_id and start_at is not None and began < start_at:
            yield f"{instance_id} was to start at {start_at}, and began at {began}"


def _family(story: Story, seen: Seen) -> Iterator[str]:
    *results, failure = _completed(story.name, seen)
    children = story.deeds[0].what[1]
    if failure != "as it should" or len(results) != len(children):
        yield f"its results are {results}, {failure}"
    for number, (name, result) in enumerate(zip(children, results, strict=False)):
        if result[:2] != [number, name] or seen.instances[name].output != result:
            yield f"child {name} gave {result}, and has {seen.instances[name].output}"
        yield from _ran(name, 0, result[2], seen)


def _ledger(story: Story, seen: Seen) -> Iterator[str]:
    [(entity, tokens)] = seen.entities.items()
    must = {deed.what for deed in story.done("signal") if deed.outcome is Outcome.ACCEPTED}
    may = {deed.what for deed in story.done("signal") if deed.outcome is Outcome.LOST}
    for deed in story.done("start"):
        _, teller, count = deed.what[1]
        own = [f"{teller}-{kind}{number}" for number in range(count) for kind in "sc"]
        must.update(own)
        if [token for token in tokens if token in own] != own:
            yield f"{entity} has the operations of {teller} in another order, or not once each: {tokens}"
        for number, place in enumerate(_completed(teller, seen)):
            if tokens[place - 1] != f"{teller}-c{number}":
                yield f"{entity} answered {place} to {teller}-c{number}, and has {tokens[place - 1]} there"
    for token, times in Counter(tokens).items():
        if times > 1 or token not in must | may:
            yield f"{entity} did {token} {times} times"
    if missing := must - set(tokens):
        yield f"{entity} lacks {missing}"


def _transfer(story: Story, seen: Seen) -> Iterator[str]:
    balances = dict.fromkeys(seen.entities, 1000)
    for deed in story.done("start"):
        source, target, amounts = deed.what[1]
        balances[source] -= sum(amounts)
        balances[target] += sum(amounts)
        if (sums := _completed(deed.target, seen)) != [2000] * len(amounts):
            yield f"{deed.target} saw {sums} under its locks, not 2000 each time"
    if balances != seen.entities:
        yield f"balances are {seen.entities}, should be {balances}"


def _fragile(story: Story, seen: Seen) -> Iterator[str]:
    outputs = [_completed(name, seen) for name in story.instances]
    if outputs != outputs[:1] * len(outputs):
        yield f"what the children gave is not what their parents have: {outputs}"
    yield from _ran(story.name, 0, outputs[0], seen)


def _doomed(story: Story, seen: Seen) -> Iterator[str]:
    instance = seen.instances[story.name]
    if (instance.status, instance.failure) != ("Failed", "ValueError"):
        yield f"it is {instance.status}, {instance.failure}"


_CHECKS: dict[str, Callable[[Story, Seen], Iterator[str]]] = {
    "stream": _stream,
    "flood": _stream,
    "gates": _gates,
    "race": _race,
    "nap": _nap,
    "family": _family,
    "ledger": _ledger,
    "transfer": _transfer,
    "fragile": _fragile,
    "doomed": _doomed,
}
