"""Real Chroma directories, made as their owners make them, become the first version of a collection."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from siltstone import keys
from siltstone.compaction import lock, rollback
from siltstone.compaction.documents import Manifest
from siltstone.errors import (
    InvalidInput,
    LockBusy,
    PointerMissing,
    SettingsMismatch,
    SnapshotDamaged,
    SnapshotTooLarge,
    StoreUnavailable,
    UnknownCollection,
)
from siltstone.migration import takeover
from siltstone.migration.takeover import TakenOver, take_over
from siltstone.migration.takeover_reader import prepare_here
from siltstone.migration.takeover_source import BucketPrefix, ChromaSource, LocalDirectory
from siltstone.query.messages import QueryInput
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.chroma import open_chroma, persistent_client
from siltstone.snapshots.restore import restore_version
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.verify.contents import open_plain

from tests.unit.scrub.house import COLLECTION, DIMENSION, House

COSINE = {"hnsw": {"space": "cosine"}}
ROWS = 60


def vectors(count: int = ROWS, dimension: int = DIMENSION, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def make(
    path: Path,
    name: str = "receipt_lines",
    embeddings: np.ndarray | None = None,
    configuration: Any = COSINE,
    **more: Any,
) -> np.ndarray:
    """As a program that knows nothing of this product does it: its own thresholds, an unflushed tail, twins, holes."""
    rows = vectors() if embeddings is None else embeddings
    with closing(persistent_client(path)) as client:
        made = client.create_collection(name, configuration=configuration, **more)
        ids = [f"r{place:04d}" for place in range(len(rows))]
        metadatas: Any = [{"n": place, "tags": ["a", "b"]} if place % 3 else None for place in range(len(rows))]
        made.upsert(ids, rows, metadatas, [f"text {place}" for place in range(len(rows))])
    return rows


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house", open_store=open_chroma, open_plain=open_plain)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the process of its own that opens a foreign directory: it takes longer than everything else."""
    monkeypatch.setattr(takeover, "prepare", prepare_here)


def take(house: House, where: Path | ChromaSource, **more: Any) -> TakenOver:
    directory = LocalDirectory(where) if isinstance(where, Path) else where
    return take_over(
        directory, more.pop("collection", COLLECTION), house.stores, house.clock, workspace=house.folder / "w", **more
    )


def content(house: House, version: str, folder: Path) -> dict[str, tuple[bytes, str, dict[str, Any]]]:
    """What plain Chroma finds in a copy of the version."""
    restore_version(house.snapshots, house.manifest(version), folder)
    with closing(chromadb.PersistentClient(str(folder))) as client:  # type: ignore[type-var]
        assert [each.name for each in client.list_collections()] == [COLLECTION]
        found: Any = client.get_collection(COLLECTION, embedding_function=None).get(
            include=["embeddings", "documents", "metadatas"]
        )
    return {
        row: (np.asarray(vector, np.float32).tobytes(), document, metadata or {})
        for row, vector, document, metadata in zip(
            found["ids"], found["embeddings"], found["documents"], found["metadatas"], strict=True
        )
    }


def assert_same(found: dict[str, tuple[bytes, str, dict[str, Any]]], rows: np.ndarray) -> None:
    """Ids, documents and metadata are equal; vectors but for the last bits, which Chroma rounds under cosine."""
    wanted = expected(rows)
    assert {row: each[1:] for row, each in found.items()} == {row: each[1:] for row, each in wanted.items()}
    both = [[np.frombuffer(side[row][0], np.float32) for row in wanted] for side in (found, wanted)]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-6)


def expected(rows: np.ndarray) -> dict[str, tuple[bytes, str, dict[str, Any]]]:
    return {
        f"r{place:04d}": (
            rows[place].tobytes(),
            f"text {place}",
            {"n": place, "tags": ["a", "b"]} if place % 3 else {},
        )
        for place in range(len(rows))
    }


def test_a_directory_becomes_the_first_version_and_compaction_and_verify_go_on_from_it(
    house: House, tmp_path: Path
) -> None:
    rows = make(tmp_path / "old")
    before = {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()}
    waiting = house.write("r0000", "new")
    done = take(house, tmp_path / "old")
    manifest = house.manifest(done.version)
    assert (house.current, manifest.reason, manifest.parent, manifest.token) == (done.version, "takeover", None, 1)
    assert (done.rows, manifest.counts.after, done.bytes) == (ROWS, ROWS, manifest.total_bytes)
    assert_same(content(house, done.version, tmp_path / "copy"), rows)
    assert {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()} == before
    assert house.codes(deep=True) == []
    assert "content-unprovable" in house.codes("info", deep=True)

    merged = house.compact()
    assert house.manifest(merged).parent == done.version
    assert [applied.key for applied in house.manifest(merged).applied] == [waiting]
    assert house.deltas.head(waiting) is None
    after = content(house, merged, tmp_path / "merged")
    assert (len(after), after["r0000"][1], after.pop("new")[1]) == (ROWS + 1, "text of r0000", "text of new")
    after["r0000"] = expected(rows)["r0000"]
    assert_same(after, rows)
    assert house.codes(deep=True) == []


@pytest.mark.usefixtures("in_process")
def test_readers_find_the_nearest_rows_and_filter(house: House, tmp_path: Path) -> None:
    from siltstone.query.index_chroma import open_index
    from siltstone.query.query import open_readers, query

    rows = make(tmp_path / "old")
    done = take(house, tmp_path / "old")
    with closing(open_readers(house.stores, house.clock, house.folder / "reader", open_index)) as readers:
        asked = QueryInput(
            collection_name=COLLECTION, query_embedding=rows[7].tolist(), n_results=3, metadata_filter={"n": {"$gt": 5}}
        )
        answer = query(asked, readers, house.stores.settings, house.clock, lambda: pytest.fail("not needed"))
    assert (answer.version, answer.results.ids[0]) == (done.version, "r0007")


@pytest.mark.usefixtures("in_process")
def test_it_can_be_rolled_back_to(house: House, tmp_path: Path) -> None:
    rows = make(tmp_path / "old")
    done = take(house, tmp_path / "old")
    house.write("r0000")
    house.compact()
    back = rollback.rollback(COLLECTION, done.version, house.stores, house.clock)
    assert_same(content(house, back.version, tmp_path / "back"), rows)
    assert house.codes(deep=True) == []


@pytest.mark.usefixtures("in_process")
def test_replaced_rows_leave_dead_slots_that_the_manifest_counts(house: House, tmp_path: Path) -> None:
    rows = make(tmp_path / "old", embeddings=vectors(300))  # fewer than 100 are kept beside the index at first
    with closing(persistent_client(tmp_path / "old")) as client:
        kept = client.get_collection("receipt_lines", embedding_function=None)
        kept.modify(configuration={"hnsw": {"sync_threshold": 1}})
        kept.count()
        kept.delete([f"r{place:04d}" for place in range(20)])
    done = take(house, tmp_path / "old")
    assert (done.rows, house.manifest(done.version).dead_slots) == (len(rows) - 20, 20)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"configuration": {"hnsw": {"space": "l2"}}}, "space l2; .* is cosine"),
        ({"configuration": None}, "space l2"),  # Chroma's own default
        ({"configuration": {"hnsw": {"space": "cosine", "max_neighbors": 32}}}, "hnsw .*max_neighbors=32"),
    ],
)
@pytest.mark.usefixtures("in_process")
def test_other_settings_are_refused_and_an_index_built_anew_has_the_stages(
    house: House, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    rows = make(tmp_path / "old", **options)
    with pytest.raises(SettingsMismatch, match=f"(?s){words}.*--build-anew"):
        take(house, tmp_path / "old")
    assert list(house.snapshots.list("")) == []
    done = take(house, tmp_path / "old", build_anew=True)
    assert_same(content(house, done.version, tmp_path / "copy"), rows)
    assert house.codes(deep=True) == []


@pytest.mark.usefixtures("in_process")
def test_the_older_way_to_name_a_space_counts(house: House, tmp_path: Path) -> None:
    make(tmp_path / "old", configuration=None, metadata={"hnsw:space": "cosine"})
    assert take(house, tmp_path / "old").rows == ROWS


@pytest.mark.usefixtures("in_process")
def test_of_several_collections_one_is_named_and_the_others_stay_behind(house: House, tmp_path: Path) -> None:
    rows = make(tmp_path / "old")
    make(tmp_path / "old", "other", vectors(20, 3))
    with pytest.raises(InvalidInput, match=r"has the collections other, receipt_lines.*--from"):
        take(house, tmp_path / "old")
    with pytest.raises(InvalidInput, match="none is 'words'"):
        take(house, tmp_path / "old", source="words")
    done = take(house, tmp_path / "old", source="receipt_lines")
    assert_same(content(house, done.version, tmp_path / "copy"), rows)


def _nothing(path: Path) -> None:
    path.mkdir()


def _no_rows(path: Path) -> None:
    with closing(persistent_client(path)) as client:
        client.create_collection("receipt_lines", configuration=COSINE)  # type: ignore[arg-type]


def _no_collection(path: Path) -> None:
    persistent_client(path).close()


def _other_dimension(path: Path) -> None:
    make(path, embeddings=vectors(5, 3))


def _zero_vector(path: Path) -> None:
    make(path, embeddings=np.concatenate([vectors(5), np.zeros((1, DIMENSION), np.float32)]))


def _being_written(path: Path) -> None:
    make(path)
    (path / "chroma.sqlite3-journal").write_bytes(b"x")


def _cut_sqlite(path: Path) -> None:
    make(path)
    file = path / "chroma.sqlite3"
    file.write_bytes(file.read_bytes()[: 3 * 4096])


def _damaged_index(path: Path) -> None:
    make(path, configuration={"hnsw": {"space": "cosine", "sync_threshold": 5, "batch_size": 2}})
    (header,) = path.glob("*/header.bin")
    header.write_bytes(b"\xff" * header.stat().st_size)


def _damaged_links(path: Path) -> None:
    make(path, configuration={"hnsw": {"space": "cosine", "sync_threshold": 5, "batch_size": 2}})
    (data,) = path.glob("*/data_level0.bin")
    slots = np.frombuffer(data.read_bytes(), np.uint8).reshape(-1, 132 + 4 * DIMENSION + 8).copy()
    slots[:, 4:132] = 0x7F  # neighbours far beyond the end; vectors and labels are as they were
    data.write_bytes(slots.tobytes())


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (_nothing, InvalidInput, "no chroma.sqlite3"),
        (_no_collection, InvalidInput, "has no collection"),
        (_no_rows, InvalidInput, "no rows"),
        (_other_dimension, SettingsMismatch, "dimension 3; .* is 4"),
        (_zero_vector, InvalidInput, "'r0005': a zero vector"),
        (_being_written, SnapshotDamaged, "chroma.sqlite3-journal"),
        (_cut_sqlite, SnapshotDamaged, "malformed"),
        (_damaged_index, SnapshotDamaged, "The directory is damaged: .*Open it with chromadb"),
        (_damaged_links, SnapshotDamaged, "crashes Chroma: its index is damaged"),
    ],
)
def test_what_can_not_be_used_is_refused_before_anything_is_locked_or_written(
    house: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], Any],
    error: type[Exception],
    words: str,
) -> None:
    spoil(tmp_path / "old")
    if spoil not in {_damaged_index, _damaged_links}:  # these may end the process that reads them
        monkeypatch.setattr(takeover, "prepare", prepare_here)
    with pytest.raises(error, match=words):
        take(house, tmp_path / "old")
    assert list(house.snapshots.list("")) == []
    assert house.leases.read(lock.lock_id(COLLECTION)) is None


@pytest.mark.usefixtures("in_process")
def test_a_name_without_settings_or_with_shards_is_refused(house: House, tmp_path: Path) -> None:
    with pytest.raises(UnknownCollection, match="'nobodys'"):
        take(house, tmp_path, collection="nobodys")
    sharded = CollectionBook(collections={"many": CollectionSettings(dimension=DIMENSION, shards=2)})
    object.__setattr__(house.stores, "settings", sharded)
    with pytest.raises(InvalidInput, match="many has 2 shards"):
        take(house, tmp_path, collection="many")


@pytest.mark.usefixtures("in_process")
def test_a_directory_that_is_too_large_is_refused(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "old")
    monkeypatch.setattr(takeover, "MAX_SNAPSHOT_BYTES", 1_000)
    with pytest.raises(SnapshotTooLarge):
        take(house, tmp_path / "old")
    assert list(house.snapshots.list("")) == []


@pytest.mark.usefixtures("in_process")
def test_a_collection_that_has_a_version_is_never_replaced(house: House, tmp_path: Path) -> None:
    make(tmp_path / "old")
    house.write("a")
    version = house.compact()
    with pytest.raises(InvalidInput, match=f"a version already: {version}"):
        take(house, tmp_path / "old")
    assert house.current == version


@pytest.mark.usefixtures("in_process")
def test_a_pointer_that_was_there_and_is_gone_is_not_healed(house: House, tmp_path: Path) -> None:
    make(tmp_path / "old")
    house.write("a")
    house.compact()
    house.snapshots.delete(keys.pointer(COLLECTION))
    with pytest.raises(PointerMissing):
        take(house, tmp_path / "old")


@pytest.mark.usefixtures("in_process")
def test_it_waits_for_nobody_who_compacts(house: House, tmp_path: Path) -> None:
    make(tmp_path / "old")
    run = house.acquire()
    with pytest.raises(LockBusy):
        take(house, tmp_path / "old")
    assert house.current is None
    lease = house.leases.read(lock.lock_id(COLLECTION))
    assert lease is not None
    assert lease.owner == run.owner


@pytest.mark.usefixtures("in_process")
def test_whoever_promotes_first_meanwhile_wins(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "old")
    house.write("a")
    monkeypatch.setattr(takeover, "prepare", _after(takeover.prepare, house.compact))
    with pytest.raises(InvalidInput, match="has a version already"):
        take(house, tmp_path / "old")
    assert house.current is not None
    assert house.manifest(house.current).reason == "compaction"


def _after(work: Callable[..., Any], then: Callable[[], Any]) -> Callable[..., Any]:
    def both(*args: Any) -> Any:
        result = work(*args)
        then()
        return result

    return both


@pytest.mark.usefixtures("in_process")
def test_again_it_says_what_it_did_and_another_directory_is_refused(house: House, tmp_path: Path) -> None:
    make(tmp_path / "old")
    make(tmp_path / "another", embeddings=vectors(seed=1))
    done = take(house, tmp_path / "old")
    objects = list(house.snapshots.list(keys.versions(COLLECTION)))
    again = take(house, tmp_path / "old")
    assert (again.version, again.already, again.rows) == (done.version, True, ROWS)
    with pytest.raises(InvalidInput, match="a version already"):
        take(house, tmp_path / "another")
    assert list(house.snapshots.list(keys.versions(COLLECTION))) == objects


class Killed(BaseException):
    """As SIGKILL would: nothing behind it runs, the release of the lock neither."""


WRITES = ["put", "put_file", "copy"]


def _writes_of_a_takeover(house: House, source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    made = []
    for name in WRITES:
        real = getattr(house.snapshots, name)
        monkeypatch.setattr(house.snapshots, name, lambda *a, _real=real, **k: (made.append(1), _real(*a, **k))[1])
    take(house, source)
    yield from range(len(made))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.usefixtures("in_process")
def test_killed_at_any_write_it_completes_when_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    rows = make(tmp_path / "old")
    probe = House(tmp_path / "probe", open_store=open_chroma, open_plain=open_plain)
    with monkeypatch.context() as patch:
        writes = list(_writes_of_a_takeover(probe, tmp_path / "old", patch))
    assert len(writes) > 8  # staged files, their document, the plan, the copies, the manifest, the pointer
    for nth in (1, writes[-3], writes[-1]):
        house = House(tmp_path / f"house-{nth}", open_store=open_chroma, open_plain=open_plain)
        with monkeypatch.context() as patch:
            _kill(house, nth, when, patch)
            patch.setattr(takeover, "_release", lambda *_: None)
            with pytest.raises(Killed):
                take(house, tmp_path / "old")
        lease = house.leases.read(lock.lock_id(COLLECTION))
        assert lease is not None
        assert lease.owner is not None
        promoted = nth == writes[-1] and when == "after"
        assert (house.current is not None) == promoted
        done = take(house, tmp_path / "old")  # at once: it takes its own lock
        assert (done.already, house.current) == (promoted, done.version)
        assert_same(content(house, done.version, tmp_path / f"copy-{nth}"), rows)
        assert house.codes() == []
        lease = house.leases.read(lock.lock_id(COLLECTION))
        assert lease is not None
        assert (lease.owner, lease.token) == (None, 1)


def _kill(house: House, nth: int, when: str, patch: pytest.MonkeyPatch) -> None:
    count = itertools.count()

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **more: Any) -> Any:
            mine = next(count)  # several threads write
            if mine == nth and when == "before":
                raise Killed
            result = real(*args, **more)
            if mine == nth:
                raise Killed
            return result

        return write

    for name in WRITES:
        patch.setattr(house.snapshots, name, wrap(getattr(house.snapshots, name)))


@pytest.mark.usefixtures("in_process")
def test_two_attempts_at_once_publish_one_directory_and_never_a_mixture(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make(tmp_path / "old")
    first: list[TakenOver] = []
    real = takeover.stage

    def staged_and_overtaken(*args: Any) -> Any:
        mine = real(*args)
        if not first:
            first.append(TakenOver(collection="", version="", rows=0, bytes=0))
            first[0] = take(house, tmp_path / "old")
        return mine

    monkeypatch.setattr(takeover, "stage", staged_and_overtaken)
    monkeypatch.setattr(takeover, "_release", lambda *_: None)
    second = take(house, tmp_path / "old")
    assert (second.version, second.already, first[0].already) == (first[0].version, True, False)
    assert_same(content(house, second.version, tmp_path / "copy"), rows)
    assert house.codes() == []


@pytest.mark.usefixtures("in_process")
def test_without_an_answer_to_the_pointers_write_it_is_started_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "old")
    with monkeypatch.context() as patch:
        patch.setattr(takeover, "promote", _no_answer)
        with pytest.raises(StoreUnavailable):
            take(house, tmp_path / "old")
    assert house.current is None
    assert take(house, tmp_path / "old").version == house.current


def _no_answer(*_: Any, **__: Any) -> str:
    raise StoreUnavailable("The store does not answer.")


def uploaded(house: House, folder: Path, prefix: str) -> MemoryObjects:
    """Another bucket with the directory's files, and what else lies about in one."""
    bucket = MemoryObjects(house.clock)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.put(prefix + path.relative_to(folder).as_posix(), path.read_bytes())
    bucket.put(prefix + "notes.txt", b"of no interest")
    return bucket


@pytest.mark.parametrize(
    ("asked", "objects"),
    [
        ("snapshots/20240803_130000", {}),
        ("snapshots/20240803_130000/", {}),
        ("snapshots", {"snapshots/latest/pointer.txt": b"snapshots/20240803_130000/"}),  # the reference design's
        ("snapshots/latest/", {"snapshots/latest/pointer.txt": b"snapshots/20240803_130000/\n"}),
        ("snapshots/", {"snapshots/latest/pointer.txt": b"20240803_130000"}),
    ],
)
@pytest.mark.usefixtures("in_process")
def test_a_snapshot_bucket_of_the_reference_design_is_taken_over(
    house: House, tmp_path: Path, asked: str, objects: dict[str, bytes]
) -> None:
    rows = make(tmp_path / "old")
    bucket = uploaded(house, tmp_path / "old", "snapshots/20240803_130000/")
    for key, body in objects.items():
        bucket.put(key, body)
    done = take(house, BucketPrefix(bucket, asked, f"s3://bucket/{asked}"))
    assert_same(content(house, done.version, tmp_path / "copy"), rows)


@pytest.mark.usefixtures("in_process")
def test_a_prefix_without_a_directory_names_those_near_it(house: House, tmp_path: Path) -> None:
    make(tmp_path / "old")
    bucket = uploaded(house, tmp_path / "old", "snapshots/20240803_130000/")
    with pytest.raises(InvalidInput, match=r"s3://b/snapshots is no Chroma.*snapshots/20240803_130000/"):
        take(house, BucketPrefix(bucket, "snapshots", "s3://b/snapshots"))


@pytest.mark.usefixtures("in_process")
def test_a_source_that_changes_while_it_is_copied_is_refused(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    make(tmp_path / "old")
    bucket = uploaded(house, tmp_path / "old", "p/")
    get_file = bucket.get_file

    def written_meanwhile(key: str, path: Path, **more: Any) -> None:
        get_file(key, path, **more)
        bucket.put("p/chroma.sqlite3", b"another")

    bucket.get_file = written_meanwhile  # type: ignore[method-assign]
    with pytest.raises(SnapshotDamaged, match="changed while it was copied"):
        take(house, BucketPrefix(bucket, "p", "s3://b/p"))

    copyfile = shutil.copyfile

    def touched(source: Path, target: Path, **more: Any) -> Any:
        copyfile(source, target, **more)
        if source.name == "chroma.sqlite3":
            source.write_bytes(source.read_bytes() + b"\0")

    monkeypatch.setattr("siltstone.migration.takeover_source.shutil.copyfile", touched)
    with pytest.raises(SnapshotDamaged, match="changed while it was copied"):
        take(house, tmp_path / "old")
    assert list(house.snapshots.list("")) == []


@pytest.mark.usefixtures("in_process")
def test_the_manifest_says_that_it_was_taken_over(house: House, tmp_path: Path) -> None:
    make(tmp_path / "old")
    done = take(house, tmp_path / "old")
    manifest: Manifest = house.manifest(done.version)
    assert manifest.run.startswith("takeover-")
    assert {check.name for check in manifest.checks} >= {"count", "settings", "self_search", "queue_flushed"}
    assert all(check.passed for check in manifest.checks)
    from siltstone.overview.versions import list_versions

    assert [each.reason for each in list_versions(house.stores, COLLECTION)] == ["takeover"]
