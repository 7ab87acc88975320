"""What only these stories need: see tests/ground.py."""

from collections.abc import Iterator

import pytest

from tests.ground import Ground, migrate, new_database
from tests.rig import Rig


@pytest.fixture(scope="session")
def tables(rig: Rig) -> Iterator[Ground]:
    """A migrated database that no process of the rig knows, used by one story after another."""
    with new_database(rig, "ground") as url:
        migrate(url)
        ground = Ground(url, rig.redis.url)
        yield ground
        ground.close()


@pytest.fixture
def ground(tables: Ground) -> Ground:
    """The same, empty."""
    tables.clear()
    return tables
