"""A verification that runs beside compactions, retirements and rollbacks takes none of what it sees for damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from siltstone.settings import RetentionSettings

from tests.unit.scrub.house import House, ReadOnly
from tests.unit.scrub.test_damage import versions


class Interrupted(ReadOnly):
    """Something happens before a certain request. All of a house's stores count together, whichever thread asks."""

    def __init__(self, store: Any, happen: Callable[[], Any], countdown: Iterator[int]) -> None:
        super().__init__(store)
        self._happen = happen
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)

        def request(*args: Any, **kwargs: Any) -> Any:
            if next(self._countdown) == 0:
                self._happen()
            return found(*args, **kwargs)

        return request


def compacted(house: House) -> None:
    house.compact()


def compacted_twice(house: House) -> None:
    house.compact()
    house.write("new")
    house.compact()


def rolled_back(house: House) -> None:
    house.rollback(versions(house)[-2])


def quarantined(house: House) -> None:
    house.deltas.put("deltas/lines/bad/embeddings.parquet", b"no parquet")
    house.clock.advance(1)
    house.compact()


SCENARIOS = [(compacted, 0), (compacted_twice, 0), (compacted_twice, 86_400), (rolled_back, 0), (quarantined, 0)]
STEP = 3  # every third moment, in each scenario another one


@pytest.mark.parametrize("scenario", range(len(SCENARIOS)))
def test_whatever_happens_at_any_moment_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: int
) -> None:
    happen, keep = SCENARIOS[scenario]
    monkeypatch.setattr("siltstone.compaction.retention.ATTEMPT_SECONDS", 0)  # versions go while they are looked at
    tried = 0
    for nth in range(1 + scenario % STEP, 10_000, STEP):
        house = House(
            tmp_path / str(nth), retention=RetentionSettings(keep_seconds=keep, grace_seconds=0, keep_at_least=1)
        )
        for number in range(3):
            house.write(f"a{number}", "b", seed=number)
            house.compact()
        house.write("pending")
        countdown = count(nth, -1)
        interrupted = partial(Interrupted, happen=partial(happen, house), countdown=countdown)
        monkeypatch.setattr("tests.unit.scrub.house.ReadOnly", interrupted)
        report = house.verify(deep=True)
        assert [found for found in report.findings if found.severity != "info"] == [], f"before request {nth}"
        if next(countdown) > 0:
            break  # it was over before that
        tried += 1
    assert tried > 6
