"""How much is tried: a little on every run, a hundred times as much with `HYPOTHESIS_PROFILE=long`."""

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
_HOURS_ENOUGH = 4 * 3600


def tries(count: int) -> Callable[..., object]:
    """Decorate a test that takes so many examples on every run."""

    def decorate(test):
        if IS_LONG:
            test = pytest.mark.timeout(_HOURS_ENOUGH)(test)
        return settings(
            max_examples=count * (100 if IS_LONG else 1), deadline=None, suppress_health_check=list(HealthCheck)
        )(test)

    return decorate
