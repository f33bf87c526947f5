"""The torture of `bench.torture` in short: a hub dies in every way there is, and nothing that it had accepted is lost."""

import pytest
from bench.torture.driver import Driver, Manner
from bench.torture.failpoints import Failpoint

TRIES = 4
"""A busy machine may not come to a point in the time of one round."""


@pytest.mark.parametrize(("ways", "seed"), [(Failpoint, 20), (Manner, 21)])
async def test_nothing_is_lost_whichever_way_a_hub_ends(tmp_path, ways, seed):
    """Every failpoint, and every other way to go, once, with stories going on over all of them on one store."""
    driver = Driver(tmp_path, seed, lanes=8, commits=25, kept=10)

    def not_yet():
        for _ in range(TRIES):
            yield from (way for way in ways if not driver.report.deaths[way])

    report = await driver.run(not_yet())
    assert not report.violations, "\n".join(map(str, report.violations))
    assert set(report.deaths) >= set(ways)
    assert report.stories.total() > len(ways)
