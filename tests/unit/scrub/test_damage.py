"""Each kind of damage is found, and called by its name; nothing else is found beside it."""

from __future__ import annotations

import json
import os

import pytest
from siltstone import keys
from siltstone.compaction import lock
from siltstone.compaction.documents import Check, RowCounts
from siltstone.compaction.retention import ATTEMPT_SECONDS, pin
from siltstone.deltas.quarantine import REASON_FILE
from siltstone.errors import UnknownCollection, UnknownVersion
from siltstone.settings import RetentionSettings
from siltstone.stores.leases_memory import MemoryLeases

from tests.unit.scrub.house import COLLECTION, House


@pytest.fixture
def house(tmp_path) -> House:
    """Three versions, each of one delta, all retired."""
    house = House(tmp_path)
    for number in range(3):
        house.write(f"a{number}", f"b{number}", seed=number)
        house.compact()
    return house


def versions(house: House) -> list[str]:
    return [each.split("/")[-2] for each in house.snapshots.list_prefixes(keys.versions(COLLECTION)) if "_" in each]


def test_an_undamaged_collection_has_no_finding_and_everything_was_looked_at(house: House) -> None:
    waiting = house.write("c")
    report = house.verify(deep=True)
    assert report.findings == []
    assert not report.damaged
    assert report.current == versions(house)[-1]
    figures = report.figures
    assert (figures.versions, figures.objects, figures.pointer_writes, figures.versions_rebuilt) == (3, 6, 3, 3)
    assert figures.bytes == sum(house.manifest(version).total_bytes for version in versions(house))
    assert (figures.deltas_pending, figures.deltas_deleted, figures.deltas_accounted) == (1, 3, 3)
    assert figures.rows_compared == 2 + 4 + 6
    assert figures.staging_objects > 0
    assert house.deltas.head(waiting) is not None


def test_a_collection_that_does_not_exist_is_an_error_and_one_without_a_version_is_not(tmp_path) -> None:
    house = House(tmp_path)
    assert house.verify(deep=True).findings == []
    house.stores.settings.collections.clear()
    with pytest.raises(UnknownCollection):
        house.verify()
    house.deltas.put(keys.delta(COLLECTION, "d1"), b"")
    assert house.codes() == ["collection-unknown"]


# versions -----------------------------------------------------------------------------------------
def test_a_flipped_byte(house: House) -> None:
    for version in versions(house):
        key = house.file_key(version)
        body = house.snapshots.get(key).body
        house.snapshots.put(key, bytes([body[0] ^ 1]) + body[1:])
        report = house.verify()
        assert [(found.code, found.key) for found in report.findings] == [("file-damaged", key)]
        assert report.damaged
        house.snapshots.put(key, body)
    assert house.codes() == []


def test_a_damaged_version_is_never_opened(house: House) -> None:
    house.snapshots.put(house.file_key(versions(house)[1]), b"")
    report = house.verify(deep=True)
    assert {found.code for found in report.findings} == {"file-damaged", "content-unprovable"}
    assert report.figures.versions_rebuilt == 1


def test_a_missing_file(house: House) -> None:
    key = house.file_key(versions(house)[0])
    house.snapshots.delete(key)
    assert [(found.code, found.key) for found in house.verify().findings] == [("file-missing", key)]


def test_a_file_that_no_manifest_names(house: House) -> None:
    house.snapshots.put(keys.version(COLLECTION, versions(house)[2]) + "chroma.sqlite3-journal", b"rolled back")
    assert house.codes() == ["file-unnamed"]


def test_a_version_that_retention_removes_during_the_verification_is_no_finding(house: House) -> None:
    version = versions(house)[0]
    key = house.file_key(version)
    stream = house.snapshots.stream

    def removed_half_way(wanted: str, *, if_match: str | None = None):
        if wanted == key:
            house.snapshots.delete(keys.manifest(COLLECTION, version))
            house.snapshots.delete(key)
        return stream(wanted, if_match=if_match)

    house.snapshots.stream = removed_half_way  # type: ignore[method-assign]
    assert house.codes(deep=True) == []


def test_a_manifest_that_can_not_be_read(house: House) -> None:
    house.snapshots.put(keys.manifest(COLLECTION, versions(house)[1]), b"{")
    assert house.codes() == ["manifest-damaged"]
    house.snapshots.put(keys.manifest(COLLECTION, versions(house)[1]), b'{"schema_version": 9}')
    found = house.verify().findings[0]
    assert found.remedy.startswith("Upgrade")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"counts": RowCounts(before=2, inserted=1, after=4)}, "count-wrong"),
        ({"counts": RowCounts(before=3, inserted=1, after=4)}, "count-wrong"),
        ({"checks": []}, "check-failed"),
        ({"checks": [Check(name="count", passed=False)]}, "check-failed"),
        ({"token": 77}, "manifest-wrong"),
        ({"parent": "20990101_000000_00000099"}, "parent-wrong"),
        ({"parent": "20010101_000000_00000001"}, "parent-wrong"),
        ({"settings": {"dimension": 5}}, "settings-changed"),
        ({"applied": []}, "delta-lost"),
    ],
)
def test_a_tampered_manifest_is_found_by_what_it_says_even_without_the_buckets_history(
    house: House, change: dict, code: str
) -> None:
    version = versions(house)[1]
    tampered = house.manifest(version).model_copy(update=change)
    key = keys.manifest(COLLECTION, version)
    house.snapshots.forget(key)  # whoever tampers may remove the older object version too
    house.write_manifest(tampered)
    assert code in house.codes("error")


def test_any_other_tampering_with_a_manifest_is_found_by_the_buckets_history(house: House) -> None:
    version = versions(house)[1]
    genuine = house.manifest(version)
    house.write_manifest(genuine.model_copy(update={"libraries": {"chromadb": "0.0.0"}}))
    assert house.codes() == ["manifest-rewritten"]
    first = list(house.snapshots.list_versions(keys.manifest(COLLECTION, version)))[-1]
    assert first.version_id in house.verify().findings[0].remedy


def test_a_manifest_that_was_brought_back_after_a_deletion_is_no_finding(house: House) -> None:
    key = keys.manifest(COLLECTION, versions(house)[1])
    body = house.snapshots.get(key).body
    house.snapshots.delete(key)
    house.snapshots.put(key, body)
    assert house.codes() == []


def test_a_rollback_that_names_other_files_than_it_restores(house: House) -> None:
    version = house.rollback(versions(house)[0])
    manifest = house.manifest(version)
    assert house.codes() == []
    house.write_manifest(manifest.model_copy(update={"files": manifest.files[:1]}))
    assert {"manifest-wrong", "file-unnamed", "manifest-rewritten"} <= set(house.codes())


def test_an_unfinished_version_and_one_that_was_never_promoted_are_worth_knowing_and_no_damage(house: House) -> None:
    house.snapshots.put(keys.version(COLLECTION, "20300101_000000_00000099") + "chroma.sqlite3", b"half")
    house.write("c")
    house.compact(and_promote=False)
    assert house.codes() == []
    assert sorted(house.codes("info")) == ["version-unfinished", "version-unpromoted"]
    house.clock.advance(3 * 86_400)
    unfinished = [found for found in house.verify().findings if found.code == "version-unfinished"]
    assert "72 h" in unfinished[0].what


def test_one_version_can_be_verified_alone(house: House) -> None:
    first, second, _ = versions(house)
    house.snapshots.delete(house.file_key(first))
    assert house.codes(version=second) == []
    assert house.codes(version=first) == ["file-missing"]
    assert house.verify(version=second).figures.versions == 1
    with pytest.raises(UnknownVersion, match="20300101"):
        house.verify(version="20300101_000000_00000099")


def test_a_version_that_went_before_its_time(tmp_path) -> None:
    house = House(tmp_path, retention=RetentionSettings(keep_seconds=7200, grace_seconds=60, keep_at_least=1))
    for number in range(4):
        house.write(f"a{number}")
        house.compact()
    first, second = versions(house)[:2]
    house.snapshots.delete(keys.manifest(COLLECTION, second))
    report = house.verify()
    assert [(found.severity, found.code) for found in report.findings] == [
        ("warning", "version-removed"),
        ("info", "delta-unprovable"),  # the line is cut there
        ("info", "version-unfinished"),
    ]
    house.clock.advance(10_000)
    assert house.codes() == []
    pin(house.snapshots, COLLECTION, first)
    house.snapshots.delete(keys.manifest(COLLECTION, first))
    assert house.codes() == ["version-removed"]


# pointer and lock ---------------------------------------------------------------------------------
def test_a_pointer_that_was_rolled_back_by_hand(house: House) -> None:
    house.point_to(versions(house)[0])
    report = house.verify()
    assert [found.code for found in report.findings] == ["pointer-moved-back"]
    assert report.current == versions(house)[0]
    assert versions(house)[2] in report.findings[0].remedy


def test_a_pointer_that_was_rolled_back_within_the_second_of_its_promotion(tmp_path) -> None:
    house = House(tmp_path)
    house.clock.advance = lambda seconds: None  # type: ignore[method-assign]
    house.stores.settings.__dict__["settle_seconds"] = -1
    house.write("a")
    first = house.compact()
    house.write("b")
    house.compact()
    assert house.codes("error") == []
    house.point_to(first)
    assert house.codes("error") == ["pointer-moved-back"]


def test_what_a_pointer_that_was_moved_back_has_cost_is_found_after_it_moved_on(house: House) -> None:
    first, _, third = versions(house)
    house.point_to(first)
    house.write("c")
    house.compact()
    report = house.verify()
    assert [found.code for found in report.findings if found.severity == "error"] == ["delta-lost"] * 2
    assert [found.code for found in report.findings if found.severity == "warning"] == ["pointer-touched"]
    assert any(third in found.what for found in report.findings)


def test_a_pointer_that_was_deleted(house: House) -> None:
    house.snapshots.delete(keys.pointer(COLLECTION))
    assert house.codes() == ["pointer-missing"]
    house.point_to(versions(house)[2])
    assert house.codes() == ["pointer-touched"] * 2  # it was deleted, and the same body came again


def test_a_pointer_that_was_lost_with_its_history(house: House) -> None:
    house.snapshots.forget(keys.pointer(COLLECTION))
    assert "pointer-missing" in house.codes("error")


def test_a_pointer_that_says_something_else(house: House) -> None:
    body = house.snapshots.get(keys.pointer(COLLECTION)).body
    house.snapshots.put(keys.pointer(COLLECTION), os.urandom(40))
    assert house.codes() == ["pointer-damaged"]
    house.snapshots.put(keys.pointer(COLLECTION), keys.version("words", versions(house)[2]).encode())
    assert set(house.codes()) == {"pointer-damaged", "pointer-touched"}
    house.snapshots.put(keys.pointer(COLLECTION), body)
    assert set(house.codes()) == {"pointer-touched"}


def test_a_pointer_that_names_no_version(house: House) -> None:
    house.point_to("20300101_000000_00000099")
    assert "pointer-dangling" in house.codes("error")


def test_a_current_version_without_its_manifest(house: House) -> None:
    house.snapshots.delete(keys.manifest(COLLECTION, versions(house)[2]))
    assert house.codes("error") == ["pointer-dangling"]


def test_two_promotions_over_one_version(house: House) -> None:
    """What the conditional write makes impossible, done by hand: a lost update."""
    third = versions(house)[2]
    house.snapshots.restore(keys.pointer(COLLECTION), _pointer_entry(house, 1))
    house.write("d")
    fourth = house.compact()
    assert house.manifest(fourth).parent != third
    house.snapshots.restore(keys.pointer(COLLECTION), _pointer_entry(house, 1))
    house.point_to(third)
    house.point_to(fourth)
    assert "pointer-forked" in house.codes("error")


def _pointer_entry(house: House, place: int) -> str:
    """Oldest first."""
    return list(house.snapshots.list_versions(keys.pointer(COLLECTION)))[::-1][place].version_id


def test_a_lock_table_from_before(house: House) -> None:
    object.__setattr__(house.stores, "leases", MemoryLeases())
    house.leases = house.stores.leases  # type: ignore[assignment]
    found = house.verify().findings
    assert [(each.severity, each.code, each.key) for each in found] == [
        ("warning", "lock-behind", lock.lock_id(COLLECTION))
    ]


# deltas -------------------------------------------------------------------------------------------
def test_a_delta_that_was_deleted_and_never_merged(house: House) -> None:
    key = house.write("lost", seed=9)
    house.deltas.delete(key)
    report = house.verify()
    assert [(found.code, found.key) for found in report.findings] == [("delta-lost", key)]
    assert "delete marker" in report.findings[0].remedy
    house.write("later")
    house.compact()
    assert house.codes() == ["delta-lost"]
    house.deltas.remove_marker(key)
    assert house.codes() == []
    house.compact()
    assert house.codes(deep=True) == []
    assert house.manifest(house.current or "").counts.after == 8


def test_a_delta_that_was_deleted_before_there_was_any_version(tmp_path) -> None:
    house = House(tmp_path)
    house.deltas.delete(house.write("a"))
    assert house.codes() == ["delta-lost"]


def test_a_delta_that_was_deleted_and_whose_body_has_expired(house: House) -> None:
    key = house.write("lost")
    house.deltas.delete(key)
    house.deltas.expire(key)
    found = house.verify().findings
    assert [each.code for each in found] == ["delta-lost"]
    assert "expired" in found[0].remedy


def test_a_merged_delta_whose_body_has_expired_is_accounted_for_by_its_key(house: House) -> None:
    for entry in list(house.deltas.list_versions(keys.DELTAS)):
        house.deltas.expire(entry.key)
    assert house.codes() == []
    assert house.codes("info", deep=True) == ["content-unprovable"] * 3


def test_what_was_deleted_before_the_oldest_version_is_not_provable_any_more(tmp_path) -> None:
    house = House(tmp_path, retention=RetentionSettings(keep_seconds=0, grace_seconds=0, keep_at_least=1))
    lost = house.write("lost")
    house.deltas.delete(lost)
    for number in range(5):
        house.write(f"a{number}")
        house.compact()
    house.clock.advance(ATTEMPT_SECONDS)
    house.compact()  # nothing is pending: it only retires
    report = house.verify()
    assert len(versions(house)) == 2
    assert [(found.severity, found.code) for found in report.findings] == [("info", "delta-unprovable")]
    assert (report.figures.deltas_unprovable, report.figures.deltas_accounted) == (1 + 3, 2)


def test_a_pending_delta_with_a_flipped_byte(house: House) -> None:
    key = house.write(*(f"d{number}" for number in range(50)))
    body = house.deltas.get(key).body
    house.deltas.put(key, body[:200] + bytes([body[200] ^ 1]) + body[201:])
    assert set(house.codes("error")) == {"delta-damaged", "delta-rewritten"}
    house.deltas.expire(key)
    assert house.codes("error") == ["delta-damaged"]


def test_a_delta_that_is_still_listed_under_another_body(house: House) -> None:
    key = house.write("d")
    house.compact(and_retire=False)
    assert house.codes() == []
    house.deltas.put(key, house.deltas.get(house.write("e")).body)
    assert house.codes("error") == ["delta-rewritten"]


def test_a_key_that_came_back_after_it_was_retired(house: House) -> None:
    key = house.write("d", delta_id="batch-1")
    body = house.deltas.get(key).body
    house.compact()
    house.deltas.put(key, body, create_only=True)  # a producer's late retry
    assert house.codes() == []
    house.write("e")
    house.compact()
    assert house.codes() == []
    house.deltas.put(key, house.deltas.get(house.write("f")).body, create_only=True)
    assert house.codes() == ["delta-returned"]


def test_something_else_among_the_deltas(house: House) -> None:
    house.deltas.put(keys.deltas(COLLECTION) + "notes.txt", b"")
    house.snapshots.put(keys.versions(COLLECTION) + "backup/chroma.sqlite3", b"")
    assert house.codes() == ["key-strange"] * 2


# quarantine ---------------------------------------------------------------------------------------
def test_quarantined_deltas_are_listed_with_the_reason_and_accounted_for(house: House) -> None:
    house.deltas.put(keys.delta(COLLECTION, "bad"), b"no parquet")
    house.clock.advance(1)
    assert house.codes("error") == ["delta-damaged"]
    house.compact()
    report = house.verify()
    assert [(found.severity, found.code) for found in report.findings] == [("info", "quarantined")]
    assert "Parquet" in report.findings[0].what
    assert report.figures.deltas_accounted == 4


def test_damage_in_the_quarantine(house: House) -> None:
    house.deltas.put(keys.delta(COLLECTION, "bad"), b"no parquet")
    house.clock.advance(1)
    house.compact()
    prefix = keys.quarantine(COLLECTION, "bad")
    note = house.deltas.get(prefix + REASON_FILE).body
    house.deltas.put(prefix + REASON_FILE, json.dumps({"schema_version": 1}).encode())
    assert house.codes() == ["quarantine-damaged"]
    house.deltas.put(prefix + REASON_FILE, note)
    house.deltas.delete(prefix + keys.DELTA_FILE)
    assert house.codes() == ["quarantine-damaged"]
