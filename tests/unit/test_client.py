"""ChromaDBClient: what each mode does, refuses, and leaves on the disk."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import boto3
import chromadb
import numpy as np
import pytest
from moto import mock_aws
from siltstone.client import ChromaDBClient
from siltstone.deltas.codec import decode
from siltstone.errors import (
    BadDelta,
    BadQuery,
    BadRecord,
    BadSettings,
    InvalidInput,
    ReadOnlyClient,
    SnapshotDamaged,
    UnknownCollection,
)
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.chroma import open_chroma
from siltstone.snapshots.mounted import private_view
from siltstone.stores import Stores
from siltstone.stores.vectors import CollectionSpec, Rows

from tests.unit.compaction.merging import memory_stores

BOOK = CollectionBook(
    collections={
        "lines": CollectionSettings(dimension=4),
        "words": CollectionSettings(dimension=4, space="l2"),
        "many": CollectionSettings(dimension=4, shards=4),
    },
    legacy_delta_collection="words",
)
ONE = [[1.0, 0.0, 0.0, 0.0]]
TWO = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]


@pytest.fixture
def memory():
    with ChromaDBClient(use_persistent_client=False, settings=BOOK) as client:
        yield client


@pytest.fixture
def snapshot(tmp_path) -> Path:
    """A sealed directory of three rows."""
    folder = tmp_path / "snapshot"
    store = open_chroma(folder, CollectionSpec.of("lines", BOOK.resolve("lines").fixed()))
    vectors = np.array([*TWO, [0, 0, 1, 0]], np.float32)
    store.insert(Rows(["a", "b", "c"], vectors, ["text a", "text b", None], [{"n": 1}, {"n": 2}, {}]))
    store.finish()
    return folder


@pytest.fixture
def stores(clock) -> Stores:
    made = memory_stores(clock)
    return Stores(**{**vars(made), "settings": BOOK})


@pytest.fixture
def clock():
    from siltstone.clock import ManualClock

    return ManualClock()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Snapshot mode ----------------------------------------------------------------------------------------
def test_rows_are_written_and_found(memory):
    memory.upsert_vectors("lines", ["a", "b"], TWO, ["text a", "text b"], [{"n": 1}, {"n": 2}])
    found = memory.query("lines", ONE, n_results=1)
    assert (found["ids"], found["documents"], found["metadatas"]) == ([["a"]], [["text a"]], [[{"n": 1}]])
    assert memory.get("lines", where={"n": 2})["ids"] == ["b"]
    assert memory.get("lines", ["a"], include=["documents"])["documents"] == ["text a"]
    assert memory.count("lines") == 2
    memory.delete("lines", ["a", "never there"])
    assert memory.count("lines") == 1


def test_a_written_row_is_exactly_what_was_sent(memory):
    memory.upsert_vectors("lines", ["a"], ONE, ["text"], [{"old": 1}])
    memory.upsert_vectors("lines", ["a"], ONE, None, [{"new": 1}])
    found = memory.get("lines", ["a"])
    assert (found["metadatas"], found["documents"]) == ([{"new": 1}], [None])


def test_a_collection_is_made_as_its_settings_say(memory):
    memory.upsert_vectors("lines", ["a"], ONE)
    memory.upsert_vectors("words", ["a"], ONE)
    spaces = {name: memory.get_collection(name).configuration_json["hnsw"]["space"] for name in ("lines", "words")}
    assert spaces == {"lines": "cosine", "words": "l2"}
    assert memory.list_collections() == ["lines", "words"]


def test_a_name_that_no_setting_matches_is_not_guessed(memory):
    with pytest.raises(UnknownCollection, match=r"cdk\.json"):
        memory.upsert_vectors("paragraphs", ["a"], ONE)


def test_reading_or_deleting_from_an_unknown_collection_makes_nothing(tmp_path):
    with ChromaDBClient(tmp_path / "new", "snapshot", settings=BOOK) as client:
        for use in (
            lambda: client.count("lines"),
            lambda: client.get("lines", ["a"]),
            lambda: client.query("lines", ONE),
            lambda: client.delete("lines", ["a"]),
            lambda: client.get_collection("lines"),
        ):
            with pytest.raises(UnknownCollection):
                use()
        assert client.list_collections() == []
    assert not (tmp_path / "new").exists()


def test_what_was_written_is_flushed_and_there_when_opened_again(tmp_path):
    with ChromaDBClient(tmp_path / "new", "snapshot", settings=BOOK) as client:
        client.upsert_vectors("lines", ["a", "b"], TWO)
    view = tmp_path / "view"
    private_view(tmp_path / "new", view)
    assert any(path.is_symlink() for path in view.iterdir())  # flushed: its index needs no copy
    with chromadb.PersistentClient(str(tmp_path / "new")) as plain:
        assert plain.get_collection("lines", embedding_function=None).count() == 2


def test_an_existing_collection_stays_what_it_is_whatever_the_settings_say(snapshot):
    other = CollectionBook(collections={"lines": CollectionSettings(dimension=9, space="l2")})
    with ChromaDBClient(snapshot, "snapshot", settings=other) as client:
        client.upsert_vectors("lines", ["d"], ONE)
        with pytest.raises(BadDelta, match="dimension"):
            client.upsert_vectors("lines", ["e"], [[1.0] * 9])
        assert client.count("lines") == 4


def test_chromas_own_handle_writes_in_snapshot_mode(tmp_path):
    with ChromaDBClient(tmp_path / "new", "snapshot", settings=BOOK) as client:
        client.upsert_vectors("lines", ["a"], ONE)
        handle = client.get_collection("lines")
        handle.upsert(ids=["b"], embeddings=np.array(ONE))
        assert handle.count() == 2
        with pytest.raises(AttributeError):
            handle._client  # noqa: B018


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ((["a"], TWO, {}), BadRecord),
        ((["a", "b"], TWO, {"documents": ["one"]}), BadRecord),
        ((["a", "b"], [[1.0], [1.0, 2.0]], {}), BadRecord),
        ((["a"], [["x", "y", "z", "w"]], {}), BadRecord),
        ((["a", "a"], TWO, {}), BadDelta),
        ((["a"], [[1.0, 0.0]], {}), BadDelta),
        ((["a"], [[np.nan, 0.0, 0.0, 0.0]], {}), BadDelta),
        ((["a"], [[0.0, 0.0, 0.0, 0.0]], {}), BadDelta),
        ((["a"], ONE, {"metadatas": [{"nested": {"no": 1}}]}), BadDelta),
        (([""], ONE, {}), BadDelta),
    ],
)
@pytest.mark.parametrize("mode", ["snapshot", "delta"])
def test_a_row_that_can_not_be_kept_is_refused_at_once(tmp_path, mode, row, error):
    ids, vectors, columns = row
    with ChromaDBClient(tmp_path / "new", mode, settings=BOOK) as client, pytest.raises(error):
        client.upsert_vectors("lines", ids, vectors, **columns)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"query_embeddings": ONE, "query_texts": ["x"]},
        {"query_embeddings": [[1.0, 0.0]]},
        {"query_embeddings": [[np.nan, 0.0, 0.0, 0.0]]},
        {"query_embeddings": [[0.0, 0.0, 0.0, 0.0]]},
        {"query_embeddings": [["no"] * 4]},
        {"query_embeddings": ONE, "n_results": 0},
        {"query_embeddings": ONE, "where": {"n": {"$nope": 1}}},
        {"query_embeddings": ONE, "include": ["nope"]},
        {"query_texts": ["x"]},  # no embed
    ],
)
def test_a_bad_query_is_an_error_and_not_a_wrong_answer(memory, query):
    memory.upsert_vectors("lines", ["a"], ONE)
    with pytest.raises(BadQuery):
        memory.query("lines", **query)


def test_texts_are_embedded_by_the_given_function():
    with ChromaDBClient(
        use_persistent_client=False, settings=BOOK, embed=lambda texts: np.array([ONE[0] for _ in texts], np.float32)
    ) as client:
        client.upsert_vectors("lines", ["a", "b"], TWO)
        assert client.query("lines", query_texts=["x", "y"], n_results=1)["ids"] == [["a"], ["a"]]


def test_two_clients_in_memory_share_nothing(memory):
    memory.upsert_vectors("lines", ["a"], ONE)
    with ChromaDBClient(use_persistent_client=False, settings=BOOK) as other:
        assert other.list_collections() == []


# Read mode --------------------------------------------------------------------------------------------
def test_reading_leaves_the_directory_as_it_was(snapshot):
    before = contents(snapshot)
    with ChromaDBClient(snapshot, settings=BOOK) as client:
        assert client.query("lines", ONE, n_results=1)["ids"] == [["a"]]
        assert client.get("lines", where={"n": 2})["ids"] == ["b"]
        assert client.get_collection("lines").count() == client.count("lines") == 3
    assert contents(snapshot) == before


def test_reading_a_directory_that_is_not_flushed_leaves_it_too(tmp_path):
    folder = tmp_path / "tail"
    with chromadb.PersistentClient(str(folder)) as plain:
        collection = plain.create_collection("lines", embedding_function=None)
        collection.upsert(ids=["a", "b"], embeddings=TWO)
        collection.modify(configuration={"hnsw": {"sync_threshold": 2}})  # the next reader would flush
    before = contents(folder)
    with ChromaDBClient(folder) as client:
        assert client.query("lines", ONE, n_results=1)["ids"] == [["a"]]
    assert contents(folder) == before


def test_every_write_is_refused_also_through_a_handle(snapshot):
    before = contents(snapshot)
    with ChromaDBClient(snapshot, "read", settings=BOOK) as client:
        handle = client.get_collection("lines")
        for write in (
            lambda: client.upsert_vectors("lines", ["x"], ONE),
            lambda: client.delete("lines", ["a"]),
            lambda: handle.add(ids=["x"], embeddings=ONE),
            lambda: handle.upsert(ids=["x"], embeddings=ONE),
            lambda: handle.update(ids=["a"], metadatas=[{"n": 9}]),
            lambda: handle.delete(ids=["a"]),
            lambda: handle.modify(name="other"),
        ):
            with pytest.raises(ReadOnlyClient):
                write()
        assert client.count("lines") == 3
    assert contents(snapshot) == before


def test_a_directory_without_a_snapshot_is_unknown_and_stays_as_it_is(tmp_path):
    with ChromaDBClient(tmp_path / "missing") as client:
        with pytest.raises(UnknownCollection):
            client.count("lines")
        assert client.list_collections() == []
    assert not (tmp_path / "missing").exists()


def test_a_directory_that_is_being_written_to_is_refused(snapshot):
    (snapshot / "chroma.sqlite3-journal").write_bytes(b"half a transaction")
    with ChromaDBClient(snapshot) as client, pytest.raises(SnapshotDamaged, match="being written"):
        client.count("lines")


# Delta mode -------------------------------------------------------------------------------------------
def test_a_delta_holds_the_last_operation_for_each_id(stores, clock):
    with ChromaDBClient("/tmp/delta", "delta", settings=BOOK, clock=clock) as client:
        client.upsert_vectors("lines", ["a", "b"], TWO, ["old", "b"], [{"n": 1}, None])
        client.upsert_vectors("lines", ["a"], ONE, ["new"])
        client.delete("lines", ["b"])
        key = client.persist_and_upload_delta(stores)
    assert key.startswith("deltas/lines/")
    _, rows = decode(stores.deltas.get(key).body)
    assert dict(zip(rows.ids, rows.deletes.tolist(), strict=True)) == {"a": False, "b": True}
    assert rows.documents[rows.ids.index("a")] == "new"
    assert stores.hints.told == [{"collection": "lines", "delta_key": key, "embedding_count": 2}]


def test_each_upload_is_a_delta_of_its_own(stores, clock):
    with ChromaDBClient(mode="delta", settings=BOOK, clock=clock) as client:
        client.upsert_vectors("lines", ["a"], ONE)
        client.upsert_vectors("words", ["w"], ONE)
        with pytest.raises(InvalidInput, match="lines, words"):
            client.persist_and_upload_delta(stores)
        first = client.persist_and_upload_delta(stores, collection="lines")
        second = client.persist_and_upload_delta(stores)
        assert (first.split("/")[1], second.split("/")[1]) == ("lines", "words")
        with pytest.raises(InvalidInput, match="no collection"):
            client.persist_and_upload_delta(stores)


def test_a_sharded_collection_becomes_an_object_for_each_shard(stores, clock):
    ids = [f"r{number}" for number in range(40)]
    with ChromaDBClient(mode="delta", settings=BOOK, clock=clock) as client:
        client.upsert_vectors("many", ids, np.ones((40, 4)))
        client.persist_and_upload_delta(stores)
    written = [info.key.split("/")[1] for info in stores.deltas.list("deltas/")]
    assert written == ["many.s00", "many.s01", "many.s02", "many.s03"]


def test_an_upload_that_failed_can_be_made_again(stores, clock):
    with ChromaDBClient(mode="delta", settings=BOOK, clock=clock) as client:
        client.upsert_vectors("lines", ["a"], ONE)
        with pytest.raises(InvalidInput, match="nowhere"):
            client.persist_and_upload_delta(stores, "nowhere/")
        key = client.persist_and_upload_delta(stores)
    assert decode(stores.deltas.get(key).body)[1].ids == ["a"]


def test_rows_that_were_never_uploaded_are_not_forgotten_silently(stores, clock):
    client = ChromaDBClient(mode="delta", settings=BOOK, clock=clock)
    client.upsert_vectors("lines", ["a"], ONE)
    with pytest.raises(InvalidInput, match="never uploaded"):
        client.close()
    assert client.persist_and_upload_delta(stores)
    client.close()


def test_an_error_on_the_way_is_not_hidden_by_rows_that_were_not_uploaded():
    with pytest.raises(ZeroDivisionError), ChromaDBClient(mode="delta", settings=BOOK) as client:
        client.upsert_vectors("lines", ["a"], ONE)
        raise ZeroDivisionError


def test_a_delta_client_reads_nothing():
    with ChromaDBClient(mode="delta", settings=BOOK) as client, pytest.raises(InvalidInput, match="mode='read'"):
        client.count("lines")


def test_a_delta_may_be_a_chroma_directory(stores, clock, tmp_path):
    with ChromaDBClient(mode="delta", settings=BOOK, clock=clock) as client:
        client.upsert_vectors("words", ["a", "b"], TWO, ["text a", "text b"])
        key = client.persist_and_upload_delta(stores, "delta/")
    prefix = key.removesuffix("chroma.sqlite3")
    for info in stores.deltas.list(prefix):
        target = tmp_path / info.key.removeprefix(prefix)
        target.parent.mkdir(exist_ok=True)
        stores.deltas.get_file(info.key, target)
    with chromadb.PersistentClient(str(tmp_path)) as plain:
        assert plain.get_collection("words", embedding_function=None).get()["documents"] == ["text a", "text b"]


def test_a_chroma_directory_can_not_say_what_is_deleted(stores, clock):
    client = ChromaDBClient(mode="delta", settings=BOOK, clock=clock)
    client.delete("words", ["a"])
    with pytest.raises(InvalidInput, match="deleted"):
        client.persist_and_upload_delta(stores, "delta/")
    client.close(discard=True)


def test_a_chroma_directory_names_no_collection_so_only_the_legacy_one_takes_it(stores, clock):
    client = ChromaDBClient(mode="delta", settings=BOOK, clock=clock)
    client.upsert_vectors("lines", ["a"], ONE)
    with pytest.raises(BadSettings):
        client.persist_and_upload_delta(stores, "delta/")
    client.close(discard=True)


@mock_aws
def test_a_bucket_may_be_given_by_its_name(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="deltas")
    queue = boto3.client("sqs").create_queue(QueueName="hints")["QueueUrl"]
    monkeypatch.setenv("DELTA_QUEUE_URL", queue)
    with ChromaDBClient(mode="delta", settings=BOOK) as client:
        client.upsert_vectors("lines", ["a"], ONE)
        key = client.persist_and_upload_delta("deltas", "deltas/")
    assert decode(boto3.client("s3").get_object(Bucket="deltas", Key=key)["Body"].read())[1].ids == ["a"]
    assert key in boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"][0]["Body"]


# Closing ----------------------------------------------------------------------------------------------
def test_a_closed_client_is_of_no_more_use(snapshot):
    client = ChromaDBClient(snapshot)
    handle = client.get_collection("lines")
    client.close()
    client.close()
    for use in (lambda: client.count("lines"), lambda: handle.count, client.list_collections, client.__enter__):
        with pytest.raises(InvalidInput, match="closed"):
            use()


@pytest.mark.parametrize("mode", ["read", "snapshot"])
def test_closing_releases_every_file(snapshot, mode):
    if not Path("/proc/self/fd").exists():
        pytest.skip("only where open files can be listed")
    before = opened()
    client = ChromaDBClient(snapshot, mode)
    client.query("lines", ONE)
    assert opened() - before
    client.close()
    until = time.monotonic() + 2  # Chroma's threads let go about a millisecond later
    while opened() - before and time.monotonic() < until:
        time.sleep(0.001)
    assert not opened() - before


def test_a_client_in_memory_leaves_nothing_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ChromaDBClient(use_persistent_client=False, settings=BOOK) as client:
        client.upsert_vectors("lines", ["a"], ONE)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [{"mode": "write"}, {}, {"persist_directory": "/tmp/x", "use_persistent_client": False}],
)
def test_wrong_arguments_are_named(arguments):
    with pytest.raises(InvalidInput):
        ChromaDBClient(**arguments)


def opened() -> set[str]:
    found: set[str] = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(link.readlink()))
    return {path for path in found if path.endswith((".sqlite3", ".bin"))}
