"""Settings: small values by name."""

from collections.abc import Callable

import pytest

from bide.errors import InvalidInputError
from bide.store.base import Store
from bide.testing.store_suite.fixtures import opened


async def test_a_setting_is_put_replaced_and_removed(store: Store) -> None:
    """None stands for no value; removing what is not there is fine."""
    assert await store.get_setting("keys/a") is None
    await store.put_setting("keys/a", "1")
    await store.put_setting("keys/a", "")
    assert await store.get_setting("keys/a") == ""
    await store.put_setting("keys/a", None)
    await store.put_setting("keys/a", None)
    assert await store.get_setting("keys/a") is None


async def test_settings_are_found_by_the_beginning_of_their_names(store: Store) -> None:
    """In order; case counts, and no character is special."""
    for name in ("k/b", "k/a", "K/a", "k", "k%"):
        await store.put_setting(name, name.upper())
    assert list((await store.settings("k/")).items()) == [("k/a", "K/A"), ("k/b", "K/B")]
    assert await store.settings("k%") == {"k%": "K%"}
    assert len(await store.settings("")) == 5


async def test_a_setting_is_replaced_by_those_who_know_it(store: Store) -> None:
    """Of two who saw the same value, or none, one succeeds."""
    assert not await store.replace_setting("a", "0", "1")
    assert await store.replace_setting("a", None, "1")
    assert not await store.replace_setting("a", None, "2")
    assert await store.replace_setting("a", "1", "2")
    assert not await store.replace_setting("a", "1", "3")
    assert await store.get_setting("a") == "2"


async def test_a_setting_that_cannot_be_stored_is_refused(store: Store) -> None:
    """With an error of the caller's."""
    for name, value in (("a", "\ud800"), ("a\0", "x")):
        with pytest.raises(InvalidInputError):
            await store.put_setting(name, value)
    assert await store.settings("") == {}


async def test_settings_survive_a_restart(store: Store, make_store: Callable[[], Store]) -> None:
    """They are durable when `put_setting` has returned."""
    await store.put_setting("a", "1")
    await store.close()
    async with opened(make_store) as again:
        assert await again.get_setting("a") == "1"
