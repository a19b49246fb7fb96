"""One house for all crashes: whatever a crash left behind is there when the next one comes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.crashes.house import House
from tests.faults.crashes.waves import Truth


@pytest.fixture(scope="package")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("crashes")) as house:
        yield house


@pytest.fixture
def house(standing: House) -> Iterator[House]:
    """Nothing is armed, at the start and at the end."""
    standing.switch.clear()
    yield standing
    standing.switch.clear()


_collections = 0


@pytest.fixture
def truth(house: House) -> Truth:
    """A collection of the test's own, with two versions."""
    global _collections  # noqa: PLW0603 - a name is used once
    _collections += 1
    made = Truth(f"crash-{_collections:03d}", house.stores)
    for _ in range(2):
        made.wave()
        house.compact(made.collection)
    return made
