from datetime import timedelta

import pytest

from bide import App
from bide.testing import Harness


@pytest.fixture(params=["resident", "evicted"])
def open_harness(request):
    """Make harnesses; "evicted": every instance is dropped from memory after each commit, and so replayed each time."""

    def make(app: App, **options) -> Harness:
        return Harness(app, max_resident=0 if request.param == "evicted" else 1000, **options)

    return make


@pytest.fixture
def hour():
    return timedelta(hours=1)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """A store that fails is tried again at once."""
    monkeypatch.setattr("bide.runtime.partition._FIRST_PAUSE", 0)
