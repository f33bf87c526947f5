import pytest

from bide.store import MemoryStore
from bide.testing.store_suite import *  # noqa: F403


@pytest.fixture
def make_store():
    store = MemoryStore()
    return lambda: store
