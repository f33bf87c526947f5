"""The checker of the torture finds what it is there to find: each story that went wrong is named."""

from dataclasses import replace

import pytest
from bench.torture.checker import Instance, Seen, check
from bench.torture.journal import Deed, Outcome, Story

NOTE = {"token": "t", "at": 10.0}


def story(kind, *deeds):
    """Deeds as (verb, target, what, outcome, answer)."""
    return Story("s", kind, deeds=[Deed("s", number, *deed[:3], 1, *deed[3:]) for number, deed in enumerate(deeds)])


def raised(value, outcome=Outcome.ACCEPTED, *, answer=False, verb="raise"):
    return (verb, "s", ["n", value], outcome, answer)


def instance(status="Completed", output=None, custom_status=None, failure=None, letters=(), notes=()):
    return Instance(status, output, custom_status, failure, letters, notes)


STREAM = story(
    "stream",
    ("start", "s", ["stream", None, None], Outcome.ACCEPTED, "s"),
    raised(0),
    raised(1),
    raised(2, Outcome.LOST),
    ("start", "r", ["relay", ["s", ["r:0", "r:1"]], None], Outcome.ACCEPTED, "r"),
    ("look", "s", None, Outcome.ACCEPTED, [0, 1]),
    raised(1, answer=True, verb="repeat"),
    raised("stop"),
    raised(3, Outcome.REFUSED, answer="InstanceEndedError"),
)
CONSUMED = instance(
    output=[[0, None], [1, None], ["r:0", NOTE], ["r:1", None]], letters=((3, "instance-ended"),), notes=((3, NOTE),)
)


def streamed(**changes):
    return Seen({"s": replace(CONSUMED, **changes)}, {})


def test_a_stream_that_went_well():
    """Whether what was lost has arrived or not, and whether what a relay sent was consumed or came too late."""
    assert check(STREAM, streamed()) == []
    assert check(STREAM, streamed(output=[*CONSUMED.output, [2, None]])) == []
    late = (("r:1", "instance-ended"), (3, "instance-ended"))
    assert check(STREAM, streamed(output=CONSUMED.output[:3], letters=late)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output": [[0, None], ["r:0", None], ["r:1", NOTE]]}, "event 1 was accepted, and is there 0 times"),
        ({"output": [*CONSUMED.output, [1, None]]}, "event 1 was accepted, and is there 2 times"),
        ({"letters": ((0, "unconsumed"), (3, "instance-ended"))}, "event 0 was accepted, and is there 2 times"),
        ({"output": [*CONSUMED.output, [7, None]]}, "event 7 is there 1 times, and was never sent"),
        ({"output": [*CONSUMED.output, [2, None], [2, None]]}, "event 2 is there 2 times, and was sent once"),
        ({"output": [[1, None], [0, None], *CONSUMED.output[2:]]}, "event 0 comes after event 1"),
        ({"output": [*CONSUMED.output[:2], ["r:1", NOTE], ["r:0", None]]}, "of r, event 0 comes after event 1"),
        ({"letters": ()}, "came too late"),
        ({"letters": ((3, "instance-ended"),) * 2}, "came too late"),
        ({"notes": ()}, "a result at step 3 that no activity gave"),
        ({"output": [[0, NOTE], *CONSUMED.output[1:]]}, "has a result of an activity that was not asked for"),
        ({"status": "Running"}, "it is Running"),
        ({"output": None}, "TypeError"),
    ],
)
def test_a_stream_that_went_wrong(changes, words):
    assert words in "\n".join(check(STREAM, streamed(**changes)))


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        (raised(1, answer=False, verb="repeat"), "a second time"),
        (raised(8, answer=True), "called a duplicate the first time"),
        (("suspend", "s", None, Outcome.REFUSED, "InstanceNotFoundError"), "refused InstanceNotFoundError"),
        (("look", "s", None, Outcome.ACCEPTED, [1]), "had been consumed"),
    ],
)
def test_an_answer_that_was_wrong(deed, words):
    wrong = story("stream", *((each.verb, each.target, each.what, each.outcome, each.answer) for each in STREAM.deeds))
    wrong.deeds.insert(-1, Deed("s", 99, *deed[:3], 1, *deed[3:]))
    assert words in "\n".join(check(wrong, streamed()))


def nap(*times, default="late", at=10.0, start_at=None):
    told = story("nap", ("start", "s", ["nap", 1, start_at], Outcome.ACCEPTED, "s"))
    told.instances.append("s")
    note = {"token": "t", "at": at}
    return check(told, Seen({"s": instance(output=[*times, default, note], notes=((0, note),))}, {}))


def test_timers():
    """They fire when they are due or later; an instance begins when it is to, or later."""
    assert nap(1, 2, 2, 3, 3, start_at=1) == []
    assert "woke early" in nap(1, 2, 1.9, 2.9, 3)[0]
    assert "woke early" in nap(1, 2, 2, 3, 2.9)[0]
    assert "woke early" in nap(1, 2, 2, 3, 3, at=2.9)[0]
    assert "woke early" in nap(1, 2, 2, 3, 3, default=None)[0]
    assert "was to start at 1.5" in nap(1, 2, 2, 3, 3, start_at=1.5)[0]


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["o", "t-s0", "t-c0"], None),
        (["t-s0", "o", "t-c0", "lost"], None),
        (["t-s0", "t-s0", "t-c0"], "t-s0 2 times"),
        (["t-c0", "t-s0", "o"], "another order"),
        (["o", "x", "t-s0", "t-c0"], "did x 1 times"),
        (["t-s0", "x", "t-c0"], "lacks {'o'}"),
        (["t-s0", "t-c0", "o"], "answered 3 to t-c0"),
    ],
)
def test_operations_of_an_entity(tokens, words):
    """Each once, in order, with the answer that belongs to it."""
    told = story(
        "ledger",
        ("start", "t", ["teller", ["@ledger@s", "t", 1], None], Outcome.ACCEPTED, "t"),
        ("signal", "@ledger@s", "o", Outcome.ACCEPTED, None),
        ("signal", "@ledger@s", "lost", Outcome.LOST, None),
    )
    problems = check(told, Seen({"t": instance(output=[3])}, {"@ledger@s": tokens}))
    assert (words is None) == (problems == [])
    assert words is None or words in "\n".join(problems)


def test_money_under_locks():
    told = story("transfer", ("start", "s", ["transfer", ["@a", "@b", [10, 5]], None], Outcome.ACCEPTED, "s"))
    assert check(told, Seen({"s": instance(output=[2000, 2000])}, {"@a": 985, "@b": 1015})) == []
    assert check(told, Seen({"s": instance(output=[2000, 1990])}, {"@a": 985, "@b": 1015}))
    assert check(told, Seen({"s": instance(output=[2000, 2000])}, {"@a": 990, "@b": 1015}))


def test_the_others():
    """Gates, races, children and those that are to fail."""
    sent = [("raise", "s", [name, number], Outcome.ACCEPTED, False) for number, name in enumerate(["a", "B", "A", "C"])]
    gates = story("gates", ("start", "s", ["gates", None, 9], Outcome.ACCEPTED, "s"), *sent)
    assert check(gates, Seen({"s": instance(output=[0, 1, 3, 2, NOTE], notes=((0, NOTE),))}, {})) == []
    assert check(gates, Seen({"s": instance(output=[2, 1, 3, 0, NOTE], notes=((0, NOTE),))}, {}))
    assert check(story("race"), Seen({"s": instance(output=[0, 1])}, {})) == []
    assert check(story("race"), Seen({"s": instance(output=[1, 0])}, {}))
    family = story("family", ("start", "s", ["family", ["c"], None], Outcome.ACCEPTED, "s"))
    child = instance(output=[0, "c", NOTE], notes=((0, NOTE),))
    assert check(family, Seen({"s": instance(output=[[0, "c", NOTE], "as it should"]), "c": child}, {})) == []
    assert check(family, Seen({"s": instance(output=[[0, "d", NOTE], "as it should"]), "c": child}, {}))
    fragile = story("fragile", ("rewind", "s", None, Outcome.ACCEPTED, None))
    fragile.instances += ["s", "s-0"]
    mended = instance(output=NOTE, notes=((0, NOTE),))
    assert check(fragile, Seen({"s": mended, "s-0": mended}, {})) == []
    assert check(fragile, Seen({"s": mended, "s-0": instance(output="another")}, {}))
    assert check(fragile, Seen({"s": mended, "s-0": instance("Failed")}, {}))
    assert check(story("doomed"), Seen({"s": instance("Failed", failure="ValueError")}, {})) == []
    assert check(story("doomed"), Seen({"s": instance("Completed")}, {}))
