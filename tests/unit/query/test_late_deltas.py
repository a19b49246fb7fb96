"""A delta that shows up with a time before what a run has merged, because its PUT outlasted the settle margin.

Two writes that overlap have no order of their own. Neither is lost, and a strong read and the next version agree.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.query.house import MEMORY, SETTLE, House

LONG = 10.0 * SETTLE


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path, MEMORY)
    made.upsert("both", "merged", seed=1)
    return made


def texts(house: House, consistency: str) -> dict[str, str | None]:
    found = house.ask("get", consistency=consistency, include=["documents"], limit=100).results
    assert found is not None
    assert found.documents is not None
    return dict(zip(found.ids, found.documents, strict=True))


def test_it_is_read_at_once_and_merged_by_the_next_run_as_the_later_write(house: House) -> None:
    merged = house.compact()
    house.clock.advance(-LONG)  # its PUT began long before what is merged by now ...
    house.upsert("both", "late", seed=2)
    house.clock.advance(LONG)  # ... and ends only now
    expected = {"both": "text 2 of both", "merged": "text 1 of merged", "late": "text 2 of late"}
    assert texts(house, "strong") == expected
    assert texts(house, "snapshot") == {"both": "text 1 of both", "merged": "text 1 of merged"}
    assert house.compact() > merged
    assert texts(house, "strong") == texts(house, "snapshot") == expected
    assert not list(house.deltas.list("deltas/"))


def test_a_late_delete_counts_as_the_later_write_too(house: House) -> None:
    house.compact()
    house.clock.advance(-LONG)
    house.delete("both")
    house.clock.advance(LONG)
    assert texts(house, "strong") == {"merged": "text 1 of merged"}
    house.compact()
    assert texts(house, "strong") == texts(house, "snapshot") == {"merged": "text 1 of merged"}


def test_one_that_shows_up_in_the_middle_of_a_run_is_left_to_the_next(house: House) -> None:
    house.clock.advance(SETTLE + 1)
    run = house.prepare()
    house.clock.advance(-LONG)
    house.upsert("both", seed=2)
    house.clock.advance(LONG)
    assert texts(house, "strong")["both"] == "text 1 of both"  # both are pending: S3's time decides
    house.finish(run)
    house.readers_may_refresh()
    assert texts(house, "strong")["both"] == "text 2 of both"  # and now the run has decided: why there is a margin
    house.compact()
    assert texts(house, "snapshot")["both"] == "text 2 of both"
