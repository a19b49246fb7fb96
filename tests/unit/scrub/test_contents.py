"""With deep: a version is its base and the operations of its own deltas, and nothing else."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from siltstone import keys
from siltstone.compaction.documents import VersionFile
from siltstone.compaction.retention import ATTEMPT_SECONDS
from siltstone.errors import SnapshotDamaged
from siltstone.settings import RetentionSettings
from siltstone.snapshots.chroma import open_chroma, persistent_client
from siltstone.snapshots.files import files_in, sha256_of
from siltstone.snapshots.restore import restore_version
from siltstone.stores.vectors import CollectionSpec, Rows, VectorStore
from siltstone.stores.vectors_memory import open_memory
from siltstone.verify.contents import open_plain

from tests.unit.scrub.house import COLLECTION, DIMENSION, House, upserts

Change = Callable[[VectorStore], None]


def doctor(house: House, version: str, change: Change, *, rows: int = 0) -> None:
    """Change a version so that every file has the hash that its manifest says, and no history tells of it.

    ``rows``: how many more the manifest claims.
    """
    manifest = house.manifest(version)
    folder = house.folder / f"doctored-{version}"
    restore_version(house.snapshots, manifest, folder)
    store = house.open_store(folder, CollectionSpec.of(COLLECTION, manifest.settings))
    change(store)
    store.finish()
    store.close()
    prefix = keys.version(COLLECTION, version)
    for file in manifest.files:
        house.snapshots.delete(prefix + file.path)
    files: list[VersionFile] = []
    for path in files_in(folder):
        house.snapshots.put_file(prefix + path, folder / path, sha256=sha256_of(folder / path))
        files.append(VersionFile(path=path, size=(folder / path).stat().st_size, sha256=sha256_of(folder / path)))
    counts = manifest.counts
    counts = counts.model_copy(update={"inserted": counts.inserted + rows, "after": counts.after + rows})
    house.snapshots.forget(keys.manifest(COLLECTION, version))
    house.write_manifest(manifest.model_copy(update={"files": files, "counts": counts}))


def add_a_row(store: VectorStore) -> None:
    store.insert(Rows(["extra"], np.ones((1, DIMENSION), np.float32), ["smuggled in"], [{"n": 1}]))


def drop_a_row(store: VectorStore) -> None:
    store.delete(["a"])


def change_a_value(store: VectorStore) -> None:
    store.patch_metadata(["a"], [{"n": 2}])


def change_a_values_type(store: VectorStore) -> None:
    store.patch_metadata(["a"], [{"n": 1.0}])


def change_a_document(store: VectorStore) -> None:
    row = store.get(["a"])
    store.delete(["a"])
    store.insert(Rows(["a"], row.embeddings, ["another text"], row.metadatas))


def change_a_vector(store: VectorStore) -> None:
    row = store.get(["a"])
    store.delete(["a"])
    store.insert(Rows(["a"], row.embeddings * np.float32([1, 1, 1, 1.0001]), row.documents, row.metadatas))


DAMAGE: list[tuple[Change, int, list[str]]] = [
    (add_a_row, 1, ["count-wrong", "row-unexpected"]),
    (add_a_row, 0, ["count-wrong", "row-unexpected"]),
    (drop_a_row, 0, ["count-wrong", "row-missing"]),
    (change_a_value, 0, ["row-wrong"]),
    (change_a_values_type, 0, ["row-wrong"]),
    (change_a_document, 0, ["row-wrong"]),
    (change_a_vector, 0, ["row-wrong"]),
]


@pytest.fixture(params=["numpy", "chroma"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """Two versions. The second one takes ``a`` over from the first, rewrites ``b`` and deletes ``c``."""
    if request.param == "numpy":
        house = House(tmp_path)
    else:
        house = House(tmp_path, open_store=open_chroma, open_plain=open_plain)
    house.write("a", "b", "c")
    house.compact()
    house.write("b", "d", seed=1)
    house.erase("c", "never there")
    house.compact()
    return house


def test_versions_that_were_made_by_real_runs_are_rebuilt_without_a_finding(house: House) -> None:
    report = house.verify(deep=True)
    assert report.findings == []
    assert (report.figures.versions_rebuilt, report.figures.rows_compared) == (2, 3 + 3)
    assert list((house.folder / "verify").iterdir()) == []


@pytest.mark.parametrize(("change", "rows", "codes"), DAMAGE)
def test_content_that_its_base_and_deltas_do_not_explain(
    house: House, change: Change, rows: int, codes: list[str]
) -> None:
    current = house.current or ""
    doctor(house, current, change, rows=rows)
    assert house.codes(version=current) == []
    assert sorted(house.codes(deep=True, version=current)) == codes


def test_what_is_wrong_in_a_base_is_said_of_the_base_and_of_what_differs_from_it(house: House) -> None:
    first = house.manifest(house.current or "").parent or ""
    doctor(house, first, change_a_vector)
    report = house.verify(deep=True)
    assert [(found.code, found.key) for found in report.findings] == [
        ("row-wrong", keys.version(COLLECTION, first)),
        ("row-wrong", keys.version(COLLECTION, house.current or "")),
    ]
    assert "'a'" in report.findings[0].what


def test_a_version_alone_is_rebuilt_from_its_parent(house: House) -> None:
    report = house.verify(deep=True, version=house.current)
    assert report.findings == []
    assert report.figures.versions_rebuilt == 1


def test_a_rollback_holds_what_it_restored(house: House) -> None:
    back = house.rollback(house.manifest(house.current or "").parent or "")
    assert house.codes(deep=True) == []
    doctor(house, back, drop_a_row)
    codes = house.codes(deep=True, version=back)
    assert {"row-missing", "count-wrong", "manifest-wrong"} == set(codes)


def test_a_version_whose_parent_is_gone_is_opened_and_counted_and_said_to_be_unprovable(tmp_path: Path) -> None:
    house = House(tmp_path, retention=RetentionSettings(keep_seconds=0, grace_seconds=0, keep_at_least=1))
    for number in range(4):
        house.write(f"a{number}", "a")
        house.compact()
    house.clock.advance(ATTEMPT_SECONDS)
    house.compact()  # nothing is pending: it only retires
    report = house.verify(deep=True)
    assert sorted(found.code for found in report.findings) == ["content-unprovable", "delta-unprovable"]
    assert report.figures.versions_rebuilt == 1
    doctor(house, house.manifest(house.current or "").parent or "", add_a_row)
    # The one that was doctored can't be rebuilt any more, but it has a row that its manifest does not know of; and
    # the next one lacks what its base seems to have.
    assert sorted(house.codes(deep=True)) == ["count-wrong", "row-missing"]


def test_deltas_that_are_still_listed_are_not_applied_twice(house: House) -> None:
    """A late retirement leaves them in the next manifest too, which must not count them as its own."""
    house.write("e", seed=3)
    house.compact(and_retire=False)
    house.write("e", seed=4)
    last = house.compact(and_retire=False)
    assert len(house.manifest(last).applied) == 2
    assert house.codes(deep=True) == []


def test_older_layouts_are_read_from_the_history(tmp_path: Path) -> None:
    house = House(tmp_path, open_store=open_chroma, open_plain=open_plain, legacy=True)
    vectors = upserts(["j1", "j2"]).embeddings.tolist()
    body = {"ids": ["j1", "j2"], "embeddings": vectors, "documents": ["1", "2"], "metadatas": [{"n": 1}, None]}
    house.deltas.put("deltas/0f/embeddings.json.gz", gzip.compress(json.dumps(body).encode()))
    folder = tmp_path / "producer"
    with persistent_client(folder) as client:
        made = client.create_collection("anything", configuration={"hnsw": {"space": "cosine"}})
        made.upsert(ids=["c1", "c2"], embeddings=vectors, documents=["1", "2"])
    for path in files_in(folder):
        house.deltas.put_file(f"delta/1f/{path}", folder / path, sha256=sha256_of(folder / path))
    house.clock.advance(3_600)
    version = house.compact()
    assert house.manifest(version).counts.after == 4
    assert list(house.deltas.list("delta")) == []
    report = house.verify(deep=True)
    assert report.findings == []
    assert report.figures.deltas_accounted == 2
    lost = [entry for entry in house.deltas.list_versions("delta/1f/") if not entry.is_delete_marker]
    house.write_manifest(house.manifest(version).model_copy(update={"applied": house.manifest(version).applied[:1]}))
    found = [each for each in house.verify().findings if each.code == "delta-lost"]
    assert len(found) == 1
    assert len(lost) > 1


def test_a_directory_that_plain_chroma_can_not_open(tmp_path: Path) -> None:
    house = House(tmp_path, open_store=open_chroma, open_plain=open_plain)
    house.write("a")
    version = house.compact()
    manifest = house.manifest(version)
    (path,) = [file.path for file in manifest.files if file.path.endswith(".sqlite3")]
    body = b"SQLite format 3\0" + bytes(5_000)
    (tmp_path / "broken").write_bytes(body)
    broken = VersionFile(path=path, size=len(body), sha256=sha256_of(tmp_path / "broken"))
    house.snapshots.put(keys.version(COLLECTION, version) + path, body)
    house.snapshots.forget(keys.manifest(COLLECTION, version))
    files = [broken if file.path == path else file for file in manifest.files]
    house.write_manifest(manifest.model_copy(update={"files": files}))
    assert house.codes() == []
    assert house.codes(deep=True) == ["snapshot-unreadable"]


def test_a_directory_of_another_collection_is_refused(tmp_path: Path) -> None:
    spec = CollectionSpec.of("words", House(tmp_path).stores.settings.resolve(COLLECTION).fixed())
    open_chroma(tmp_path / "words", spec).close()
    with pytest.raises(SnapshotDamaged, match="words"):
        open_plain(tmp_path / "words", CollectionSpec.of(COLLECTION, _fixed(tmp_path)))
    open_memory(tmp_path / "fine", spec).close()


def _fixed(folder: Path) -> dict:
    return House(folder).stores.settings.resolve(COLLECTION).fixed()
