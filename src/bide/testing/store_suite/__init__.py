"""What every store must do: the contract of `bide.store.base.Store` as tests.

A store passes it with a module such as::

    from bide.testing.store_suite import *

    @pytest.fixture
    def make_store(tmp_path):
        return lambda: MyStore(tmp_path / "x")

`make_store` returns a new object on the same data each time it is called. A store that several nodes share has a single
partition there.
"""

from bide.testing.store_suite.commits import *  # noqa: F403
from bide.testing.store_suite.fixtures import store as store
from bide.testing.store_suite.queries import *  # noqa: F403
from bide.testing.store_suite.queues import *  # noqa: F403
from bide.testing.store_suite.settings import *  # noqa: F403
