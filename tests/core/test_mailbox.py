"""Early events: first in, first out by name, in order of arrival across names."""

import hypothesis.strategies as st
from hypothesis import given

from bide.core.mailbox import Mailbox
from bide.model.events import EventRaised


@given(st.lists(st.sampled_from(["A", "a", "B", "ß", "SS"])))
def test_what_is_put_in_comes_out_in_order(names):
    """Taking by name gives each name's events in order; what is left drains in order of arrival; nothing is lost."""
    mailbox = Mailbox()
    events = [EventRaised(name, None, at) for at, name in enumerate(names)]
    for event in events:
        mailbox.put(event)
    taken = [event for _ in range(2) if (event := mailbox.take("a"))]
    assert taken == [event for event in events if event.name in {"A", "a"}][:2]
    rest = [event for event in events if event not in taken]
    assert mailbox.is_empty == (not rest)
    assert mailbox.drain() == rest
    assert mailbox.is_empty


def test_the_oldest_of_several_names():
    mailbox = Mailbox()
    for at, name in enumerate(["B", "A", "B"]):
        mailbox.put(EventRaised(name, None, at))
    assert mailbox.oldest_of(["a", "b"]) == "b"
    mailbox.take("b")
    assert mailbox.oldest_of(["a", "b"]) == "a"
    assert mailbox.oldest_of(["c"]) is None
    assert mailbox.counts() == {"A": 1, "B": 1}
