"""Access keys: which opens what, and what the store gets to know."""

import pytest

from bide.functions.keys import Keys
from bide.store import MemoryStore


@pytest.fixture
async def store():
    store = MemoryStore()
    await store.open()
    return store


async def test_which_key_opens_what(store):
    keys = Keys(store)
    new = await keys.open(["Start", "Stop"])
    opened = {
        (name, level): keys.opens(key, level, "start")
        for name, key in [*new.items(), ("wrong", "x"), ("none", None)]
        for level in ("anonymous", "function", "admin")
    }
    assert {name for (name, level), opens in opened.items() if level == "function" and opens} == {
        "_master", "default", "function:start"
    }  # fmt: skip
    assert {name for (name, level), opens in opened.items() if level == "admin" and opens} == {"_master"}
    assert all(opens for (_, level), opens in opened.items() if level == "anonymous")


async def test_keys_stay_are_shown_once_and_can_be_replaced(store):
    first = Keys(store)
    new = await first.open(["Start"])
    second = Keys(store)
    assert list(await second.open(["Start", "More"])) == ["function:more"]
    assert second.system == new["durabletask_extension"]
    assert second.opens(new["default"], "function", "start")
    fresh = await second.rotate("default")
    assert second.opens(fresh, "function", "start")
    assert not second.opens(new["default"], "function", "start")
    stored = await store.settings("key:")
    assert set(new.values()) & set(stored.values()) == {new["durabletask_extension"]}
