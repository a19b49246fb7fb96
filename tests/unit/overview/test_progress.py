"""In which state a run is, told by what the real states leave behind."""

from __future__ import annotations

from pathlib import Path

from siltstone.compaction.download import download
from siltstone.compaction.merge import merge
from siltstone.compaction.messages import (
    MergeInput,
    PromotePointerInput,
    ReleaseLockInput,
    RunInput,
    UploadInput,
)
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.release_lock import release_lock
from siltstone.compaction.upload import upload
from siltstone.overview.progress import RunProgress, running_states

from tests.unit.scrub.house import COLLECTION, House


def look(house: House, execution: str) -> list[RunProgress]:
    return running_states(execution, [COLLECTION, "words"], house.stores)


def state(house: House, execution: str) -> str:
    (found,) = look(house, execution)
    return found.state


def test_each_state_is_told_while_it_is_to_be_done(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.write("a", "b")
    assert look(house, "run1") == []
    run = house.acquire()
    assert state(house, "run1") == "Download"
    assert look(house, "run") == [], "another execution's"
    house.clock.advance(1)
    plan = download(RunInput(run=run), house.stores, house.clock, workspace=tmp_path / "w").plan
    assert look(house, "run1") == [RunProgress(collection=COLLECTION, state="Merge", parts_done=0, parts=1)]
    made = merge(
        MergeInput(run=run, plan=plan),
        house.stores,
        house.clock,
        workspace=tmp_path / "w",
        seconds_left=lambda: 900.0,
        open_store=house.open_store,
    )
    assert made.sealed is not None
    assert look(house, "run1") == [RunProgress(collection=COLLECTION, state="Upload", parts_done=1, parts=1)]
    manifest = upload(UploadInput(run=run, plan=plan, sealed=made.sealed), house.stores, house.clock).manifest
    assert state(house, "run1") == "PromotePointer"
    promote_pointer(PromotePointerInput(run=run, plan=plan, manifest=manifest), house.stores, house.clock)
    assert state(house, "run1") == "Retire"
    release_lock(ReleaseLockInput(run=run), house.stores, house.clock)
    assert look(house, "run1") == []


def test_a_run_that_finds_nothing_new_is_at_its_end(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.write("a")
    house.compact()
    run = house.acquire()
    download(RunInput(run=run), house.stores, house.clock, workspace=tmp_path / "w")
    assert state(house, "run2") == "Retire"


def test_what_cant_be_read_is_no_reason_to_fail(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.write("a")
    run = house.acquire()
    house.clock.advance(1)
    plan = download(RunInput(run=run), house.stores, house.clock, workspace=tmp_path / "w").plan
    house.snapshots.put(plan.key, b"{")
    assert state(house, "run1") == "under way"
