import pytest

from bide.store import SqliteStore
from bide.testing.store_suite import *  # noqa: F403


@pytest.fixture
def make_store(tmp_path):
    return lambda: SqliteStore(tmp_path / "suite.db")
