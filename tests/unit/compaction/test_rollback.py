"""Rollback: an old version's content as a new version, under the lock, promoted like any other."""

from __future__ import annotations

import pytest
from siltstone import keys
from siltstone.compaction import lock
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import RetireInput
from siltstone.compaction.retire import retire
from siltstone.compaction.rollback import rollback
from siltstone.compaction.version import Version
from siltstone.errors import (
    InvalidInput,
    LockBusy,
    PointerMissing,
    SettingsMismatch,
    SnapshotDamaged,
    StoreUnavailable,
    UnknownVersion,
)

from tests.unit.compaction.commit_path import House, Mishap

OLD = {"chroma.sqlite3": b"old rows", "5f1c/data_level0.bin": b"old"}
NEW = {"chroma.sqlite3": b"new rows", "77aa/data_level0.bin": b"new"}


@pytest.fixture
def house() -> House:
    return House()


def test_the_old_content_is_current_again_under_a_greater_token(house: House) -> None:
    old, new = house.compact("a", files=OLD), house.compact("b", files=NEW)
    out = rollback("lines", old, house.stores, house.clock)
    assert out.previous == new
    assert house.pin().version == out.version
    assert Version.parse(out.version).token == 3
    assert {path: house.read(out.version, path) for path in OLD} == OLD
    manifest = read_manifest(house.snapshots, "lines", out.version)
    assert (manifest.reason, manifest.restored_from, manifest.parent) == ("rollback", old, new)
    assert manifest.files == read_manifest(house.snapshots, "lines", old).files
    assert manifest.counts.after == 7


def test_the_lock_is_free_afterwards_and_keeps_what_the_next_compaction_must_know(house: House) -> None:
    old = house.compact("a")
    house.compact("b")
    run = house.acquire("c")
    house.leases.release("compaction#lines", run.owner, run.token, take=4, failures=2)
    rollback("lines", old, house.stores, house.clock)
    lease = house.leases.read("compaction#lines")
    assert lease is not None
    assert (lease.owner, lease.take, lease.failures) == (None, 4, 2)


def test_compaction_goes_on_from_it(house: House) -> None:
    old = house.compact("a")
    house.compact("b")
    restored = rollback("lines", old, house.stores, house.clock).version
    following = house.compact("c")
    assert read_manifest(house.snapshots, "lines", following).parent == restored


def test_a_rollback_can_be_rolled_back(house: House) -> None:
    old, new = house.compact("a", files=OLD), house.compact("b", files=NEW)
    rollback("lines", old, house.stores, house.clock)
    again = rollback("lines", new, house.stores, house.clock).version
    assert {path: house.read(again, path) for path in NEW} == NEW
    assert Version.parse(again).token == 4


def test_what_it_undid_does_not_come_back_from_deltas_that_were_merged_but_not_retired(house: House) -> None:
    old = house.compact("a")
    merged = house.delta("d1")
    house.compact("b", merged, and_retire=False)
    waiting = house.delta("d2")
    restored = rollback("lines", old, house.stores, house.clock).version
    assert read_manifest(house.snapshots, "lines", restored).applied == [merged]
    run = house.acquire("c")
    retire(RetireInput(run=run, version=restored), house.stores, house.clock)
    assert house.pending() == [waiting.key.split("/")[-2]]


@pytest.mark.parametrize("mishap", ["request lost", "reply lost"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_broken_off_anywhere_the_pointer_is_old_or_new_and_running_again_completes_it(
    house: House, nth: int, mishap: Mishap
) -> None:
    old, new = house.compact("a", files=OLD), house.compact("b", files=NEW)
    house.snapshots.fail(nth, mishap)  # two copies, the manifest, the pointer
    with pytest.raises(StoreUnavailable):
        rollback("lines", old, house.stores, house.clock)
    done = nth == 4 and mishap == "reply lost"
    current = house.pin().version
    assert (current != new) == done
    out = rollback("lines", old, house.stores, house.clock)
    assert house.pin().version == out.version
    assert {path: house.read(out.version, path) for path in OLD} == OLD


@pytest.mark.parametrize("which", ["current", "newer"])
def test_only_an_older_version_can_be_gone_back_to(house: House, which: str) -> None:
    current = house.compact("a")
    run = house.acquire("b")
    house.publish(run)
    house.release(run)
    with pytest.raises(InvalidInput, match="not older"):
        rollback("lines", current if which == "current" else run.version, house.stores, house.clock)
    assert house.pin().version == current


def test_an_unknown_version_or_a_slip_takes_no_lock(house: House) -> None:
    house.compact("a")
    house.acquire("b")  # would be busy
    with pytest.raises(UnknownVersion, match="20200101_000000_00000077"):
        rollback("lines", "20200101_000000_00000077", house.stores, house.clock)
    with pytest.raises(InvalidInput, match="latest"):
        rollback("lines", "latest", house.stores, house.clock)


def test_it_waits_for_no_one_who_compacts(house: House) -> None:
    old = house.compact("a")
    house.compact("b")
    house.acquire("c")
    with pytest.raises(LockBusy):
        rollback("lines", old, house.stores, house.clock)


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_damaged_old_version_is_not_restored_and_the_lock_is_freed(house: House, damage: str) -> None:
    old, new = house.compact("a"), house.compact("b")
    key = keys.version("lines", old) + "5f1c/data_level0.bin"
    if damage == "gone":
        house.snapshots.delete(key)
    else:
        house.snapshots.put(key, b"VECTORS")  # of the same size
    with pytest.raises(SnapshotDamaged):
        rollback("lines", old, house.stores, house.clock)
    assert house.pin().version == new
    house.acquire("c")


def test_settings_never_change_under_a_pointer_by_a_rollback_either(house: House) -> None:
    old = house.compact("a")
    house.settings = house.settings | {"dimension": 8}
    new = house.compact("b")
    with pytest.raises(SettingsMismatch, match="alias"):
        rollback("lines", old, house.stores, house.clock)
    assert house.pin().version == new


def test_a_pointer_that_is_gone_is_not_healed_by_a_rollback(house: House) -> None:
    old = house.compact("a")
    house.compact("b")
    house.snapshots.delete(keys.pointer("lines"))
    with pytest.raises(PointerMissing):
        rollback("lines", old, house.stores, house.clock)


def test_under_the_same_name_to_another_version_it_is_another_rollback(house: House) -> None:
    old, older = house.compact("a", files=OLD), house.compact("b", files=NEW)
    house.compact("c")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("siltstone.compaction.rollback.check_gate", _killed)  # its version is published
        patch.setattr(lock, "release", _killed)  # its lease stays
        with pytest.raises(KeyboardInterrupt):
            rollback("lines", old, house.stores, house.clock, execution="mine")
    published = house.versions()[-1]
    assert read_manifest(house.snapshots, "lines", published).restored_from == old
    with pytest.raises(LockBusy):
        rollback("lines", older, house.stores, house.clock, execution="mine")
    house.clock.advance(lock.LEASE_SECONDS + 1)
    done = rollback("lines", older, house.stores, house.clock, execution="mine")
    assert done.version != published
    assert {path: house.read(published, path) for path in OLD} == OLD
    assert {path: house.read(done.version, path) for path in NEW} == NEW


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_going_back_to_a_version_that_lost_its_race_applies_none_of_its_deltas_again(house: House) -> None:
    house.compact("a")
    first, second = house.delta("d1"), house.delta("d2")
    loser = house.acquire("loser")
    house.publish(loser, first, second)  # uploaded, then overtaken by a run that took less
    house.release(loser)
    house.compact("winner", first, and_retire=False)
    restored = rollback("lines", loser.version, house.stores, house.clock).version
    assert read_manifest(house.snapshots, "lines", restored).applied == [first, second]


def test_running_again_under_its_name_after_it_promoted_says_what_it_did(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = house.compact("a"), house.compact("b")
    with monkeypatch.context() as crash:
        crash.setattr(lock, "release", lambda *_, **__: False)  # it died behind its promotion: the lease stays
        done = rollback("lines", old, house.stores, house.clock, execution="mine")
    assert rollback("lines", old, house.stores, house.clock, execution="mine") == done
    assert (done.previous, house.pin().version) == (new, done.version)
