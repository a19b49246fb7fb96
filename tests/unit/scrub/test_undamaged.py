"""Whatever the product does to a collection by itself, its verification finds no damage."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from siltstone import keys
from siltstone.compaction.retention import pin, pinned, unpin
from siltstone.settings import RetentionSettings
from siltstone.snapshots.chroma import open_chroma
from siltstone.verify.contents import open_plain

from tests.unit.scrub.house import COLLECTION, House
from tests.unit.scrub.test_damage import versions

IDS = st.lists(st.sampled_from([f"id{number}" for number in range(8)]), min_size=1, unique=True)
WRITE = st.tuples(st.just("write"), IDS, st.integers(0, 2))
COMPACT = st.tuples(st.just("compact"))
STEP = st.one_of(
    WRITE,
    WRITE,
    COMPACT,
    COMPACT,
    st.tuples(st.just("erase"), IDS),
    st.tuples(st.just("die_before_retire")),
    st.tuples(st.just("die_before_promotion")),
    st.tuples(st.just("roll_back"), st.integers(0, 5)),
    st.tuples(st.just("write_what_no_run_can_use")),
    st.tuples(st.just("write_a_retired_delta_again")),
    st.tuples(st.just("pin"), st.integers(0, 5)),
    st.tuples(st.just("unpin")),
    st.tuples(st.just("wait"), st.sampled_from([60, 7_200, 100_000])),
)
COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "phases": [Phase.generate],
    "suppress_health_check": [HealthCheck.too_slow],
}
RETENTION = RetentionSettings(keep_seconds=7_200, grace_seconds=600, keep_at_least=1)


@settings(max_examples=25, **COMMON)
@given(st.lists(STEP, min_size=4, max_size=18), st.sampled_from(["cosine", "l2"]))
def test_a_collection_that_only_the_product_has_touched_is_undamaged(steps, space):
    check(steps, space=space)


@settings(max_examples=4, **COMMON)
@given(st.lists(STEP, min_size=6, max_size=12))
def test_and_so_it_is_with_chroma(steps):
    check(steps, open_store=open_chroma, open_plain=open_plain)


def check(steps: list[tuple[Any, ...]], **how: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder), retention=RETENTION, **how)
        operator = Operator(house)
        for number, (what, *how_much) in enumerate(steps):
            getattr(operator, what)(*how_much)
            report = house.verify(deep=number == len(steps) - 1)
            found = [each for each in report.findings if each.severity != "info" and not is_waiting(each)]
            assert found == []
            figures = report.figures
            assert figures.deltas_accounted + figures.deltas_unprovable == figures.deltas_deleted
        retired = [entry for entry in house.deltas.list_versions(keys.DELTAS) if entry.is_delete_marker]
        assert figures.deltas_deleted == len({entry.key for entry in retired})


def is_waiting(finding: Any) -> bool:
    """A delta that can't be used is damage until a run has moved it to quarantine."""
    return finding.code == "delta-damaged" and "/bad" in finding.key


class Operator:
    """What happens to a collection, by the steps' names."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.bad = 0

    def write(self, ids: list[str], seed: int) -> None:
        self.house.write(*ids, seed=seed)

    def erase(self, ids: list[str]) -> None:
        self.house.erase(*ids)

    def compact(self) -> None:
        self.house.compact()

    def die_before_retire(self) -> None:
        self.house.compact(and_retire=False)

    def die_before_promotion(self) -> None:
        self.house.compact(and_promote=False)

    def roll_back(self, place: int) -> None:
        current = self.house.current
        older = [version for version in self._published() if current and version < current]
        if older:
            self.house.rollback(older[place % len(older)])

    def write_what_no_run_can_use(self) -> None:
        self.bad += 1
        self.house.deltas.put(keys.delta(COLLECTION, f"bad{self.bad}"), b"no parquet")
        self.house.clock.advance(1)

    def write_a_retired_delta_again(self) -> None:
        gone = [each for each in self.house.deltas.list_versions(keys.DELTAS) if each.is_delete_marker]
        if gone:
            *_, first = self.house.deltas.list_versions(gone[0].key)
            if self.house.deltas.head(first.key) is None:
                self.house.deltas.put(first.key, self.house.deltas.get_version(first.key, first.version_id).body)
                self.house.clock.advance(1)

    def pin(self, place: int) -> None:
        versions = self._published()
        if versions:
            pin(self.house.snapshots, COLLECTION, versions[place % len(versions)])

    def unpin(self) -> None:
        for version in pinned(self.house.snapshots, COLLECTION):
            unpin(self.house.snapshots, COLLECTION, version)

    def wait(self, seconds: int) -> None:
        self.house.clock.advance(seconds)

    def _published(self) -> list[str]:
        manifests = [keys.manifest(COLLECTION, version) for version in versions(self.house)]
        return [key.split("/")[-2] for key in manifests if self.house.snapshots.head(key) is not None]
