"""For tests of applications: a hub in memory with a clock that the test moves."""

from bide.testing.faults import FaultyStore
from bide.testing.harness import Harness, VirtualClock

__all__ = ["FaultyStore", "Harness", "VirtualClock"]
