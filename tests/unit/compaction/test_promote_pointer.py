"""PromotePointer: only a whole and checked version of the run that holds the lock becomes current, once."""

from __future__ import annotations

import pytest
from siltstone import keys
from siltstone.compaction.documents import Check, Pin
from siltstone.compaction.messages import PromotePointerInput
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.upload import upload
from siltstone.errors import (
    CheckFailed,
    LockLost,
    ManifestDamaged,
    PointerMissing,
    PointerMoved,
    SnapshotDamaged,
    StoreUnavailable,
)

from tests.unit.compaction.commit_path import GOOD, House, Mishap

POINTER = keys.pointer("lines")


@pytest.fixture
def house() -> House:
    return House()


def test_the_version_becomes_current_and_the_answer_names_the_one_before(house: House) -> None:
    first = house.compact("a")
    request = house.publish(house.acquire("b"))
    out = promote_pointer(request, house.stores, house.clock)
    assert (out.version, out.previous) == (request.run.version, first)
    assert house.pin() == Pin(version=request.run.version, etag=out.etag)


def test_run_again_it_says_the_same_and_writes_nothing_more(house: House) -> None:
    request = house.publish(house.acquire("a"))
    first = promote_pointer(request, house.stores, house.clock)
    house.clock.advance(60)
    assert promote_pointer(request, house.stores, house.clock) == first
    assert len(list(house.snapshots.list_versions(POINTER))) == 1


@pytest.mark.parametrize("mishap", ["request lost", "reply lost"])
def test_a_lost_request_or_reply_is_resolved_by_running_again(house: House, mishap: Mishap) -> None:
    house.compact("a")
    request = house.publish(house.acquire("b"))
    house.snapshots.fail(1, mishap)
    with pytest.raises(StoreUnavailable):
        promote_pointer(request, house.stores, house.clock)
    out = promote_pointer(request, house.stores, house.clock)
    assert house.pin() == Pin(version=request.run.version, etag=out.etag)
    assert len(list(house.snapshots.list_versions(POINTER))) == 2


@pytest.mark.parametrize(
    "checks", [(*GOOD, Check(name="self_search", passed=False, detail="3 of 64 found themselves"))]
)
def test_one_failed_check_closes_the_gate(house: House, checks: tuple[Check, ...]) -> None:
    run = house.acquire("a")
    request = house.stage(run, checks=checks)
    manifest = upload(request, house.stores, house.clock).manifest
    with pytest.raises(CheckFailed, match=r"self_search \(3 of 64"):
        promote_pointer(PromotePointerInput(run=run, plan=request.plan, manifest=manifest), house.stores, house.clock)
    assert house.pin().version is None


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_file_that_is_gone_or_has_another_size_closes_the_gate(house: House, damage: str) -> None:
    request = house.publish(house.acquire("a"))
    key = keys.version("lines", request.run.version) + "5f1c/data_level0.bin"
    if damage == "gone":
        house.snapshots.delete(key)
    else:
        house.snapshots.put(key, b"vec")
    with pytest.raises(SnapshotDamaged, match=r"data_level0\.bin"):
        promote_pointer(request, house.stores, house.clock)
    assert house.pin().version is None


def test_a_run_that_lost_its_lock_promotes_nothing(house: House) -> None:
    request = house.publish(house.acquire("a"))
    house.clock.advance(3_600)
    house.acquire("b")
    with pytest.raises(LockLost):
        promote_pointer(request, house.stores, house.clock)
    assert house.pin().version is None


def test_a_run_that_was_overtaken_says_so_also_where_retention_removed_its_version(house: House) -> None:
    """Not `ManifestDamaged`, over which a person is called."""
    request = house.publish(house.acquire("a"))
    house.clock.advance(3_600)
    house.acquire("b")
    house.snapshots.delete(request.manifest.key)
    with pytest.raises(LockLost):
        promote_pointer(request, house.stores, house.clock)


def test_whoever_holds_the_lock_can_not_promote_over_a_pointer_that_moved(house: House) -> None:
    """Safety does not rest on the lock: here it is given to a stale run, and the pointer still refuses."""
    house.compact("a")
    stale = house.publish(house.acquire("b"))
    house.leases._items.clear()  # the lock table is lost
    promoted = house.compact("c")
    house.leases._items.clear()
    house.leases.acquire("compaction#lines", stale.run.owner, now=house.clock.now(), seconds=1200, floor=1)
    assert stale.run.token == 2
    with pytest.raises(PointerMoved):
        promote_pointer(stale, house.stores, house.clock)
    assert house.pin().version == promoted


def test_a_rollback_in_the_meantime_refuses_who_pinned_before_it(house: House) -> None:
    from siltstone.compaction.rollback import rollback

    first = house.compact("a")
    house.compact("b")
    stale = house.publish(house.acquire("c"))
    house.release(stale.run)
    restored = rollback("lines", first, house.stores, house.clock).version
    house.leases._items.clear()
    house.leases.acquire("compaction#lines", stale.run.owner, now=house.clock.now(), seconds=1200, floor=2)
    with pytest.raises(PointerMoved):
        promote_pointer(stale, house.stores, house.clock)
    assert house.pin().version == restored


def test_a_deleted_pointer_is_not_healed(house: House) -> None:
    house.compact("a")
    request = house.publish(house.acquire("b"))
    house.snapshots.delete(POINTER)
    with pytest.raises(PointerMissing):
        promote_pointer(request, house.stores, house.clock)
    assert house.snapshots.head(POINTER) is None


def test_another_runs_plan_or_manifest_is_refused(house: House) -> None:
    first = house.publish(house.acquire("a"))
    house.release(first.run)
    second = house.publish(house.acquire("b"))
    with pytest.raises(ManifestDamaged, match="manifest"):
        promote_pointer(second.model_copy(update={"manifest": first.manifest}), house.stores, house.clock)
    with pytest.raises(ManifestDamaged, match="plan"):
        promote_pointer(second.model_copy(update={"plan": first.plan}), house.stores, house.clock)
    assert house.pin().version is None


def test_a_manifest_that_changed_since_upload_is_refused(house: House) -> None:
    request = house.publish(house.acquire("a"))
    house.snapshots.put(request.manifest.key, b"{}")
    with pytest.raises(ManifestDamaged, match="gone or changed"):
        promote_pointer(request, house.stores, house.clock)
