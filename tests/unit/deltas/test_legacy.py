"""The two older layouts: parallel arrays in gzipped JSON, and a Chroma directory."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from siltstone.deltas import legacy_chroma, legacy_json
from siltstone.deltas.legacy_chroma import write_chroma_delta
from siltstone.deltas.legacy_json import decode_json
from siltstone.deltas.listing import PendingDelta, list_pending
from siltstone.deltas.quarantine import quarantine_delta, replay
from siltstone.deltas.reading import fetch_delta, read_delta, read_fetched
from siltstone.deltas.retire import retire_delta
from siltstone.errors import BadDelta, BadSettings, PreconditionFailed

from tests.faults.fuzz.chroma import endless, unpacked
from tests.unit.deltas.house import House, vectors


def zipped(body: bytes) -> bytes:
    """Without the time, so that two processes collect tests of the same names."""
    return gzip.compress(body, mtime=0)


def packed(**changes: Any) -> bytes:
    whole = {
        "batch_id": "batch_1",
        "timestamp": "2025-01-01",
        "ids": ["a", "b"],
        "embeddings": [[0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]],
        "metadatas": [{"text": "x", "merchant": None}, {"line_id": 2}],
        "documents": ["x", "y"],
        **changes,
    }
    return zipped(json.dumps({key: value for key, value in whole.items() if value is not ...}).encode())


def test_parallel_arrays_become_upserts() -> None:
    rows = decode_json(packed())
    assert (rows.ids, rows.documents, rows.metadatas) == (["a", "b"], ["x", "y"], [{"text": "x"}, {"line_id": 2}])
    assert rows.embeddings.tolist() == np.array([[0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]], np.float32).tolist()
    bare = decode_json(packed(metadatas=..., documents=None))
    assert (bare.documents, bare.metadatas) == ([None, None], [{}, {}])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "cut short"),
        (b"PAR1" * 10, "not gzip"),
        (packed()[:-12], "cut short"),
        (packed()[:40], "cut short"),
        (zipped(b"{"), "not JSON"),
        (zipped(b"[" * 200_000), "not JSON"),
        (zipped(b"\xff\xfe{}"), "not JSON"),
        (zipped(b"[]"), "not an object"),
        (packed(ids=...), "'ids' is missing"),
        (packed(ids=[]), "1 to 50,000 texts"),
        (packed(ids=["a", 2]), "1 to 50,000 texts"),
        (packed(ids=["a"]), "'embeddings' has 2 rows, 'ids' has 1"),
        (packed(documents=["x"]), "'documents' has 1 rows"),
        (packed(metadatas=[{}, 7]), "row 1, id 'b': metadata is not an object"),
        (packed(embeddings=[[1, 2], [1]]), "different lengths"),
        (packed(embeddings=[["1", "2"], ["3", "4"]]), "one array of numbers"),
        (packed(embeddings=[[1, None], [1, 2]]), "one array of numbers"),
        (packed(embeddings=[1, 2]), "one array of numbers"),
        (packed(embeddings=[[], []]), "one array of numbers"),
        (packed(embeddings=[[float("nan")] * 4, [1, 2, 3, 4]]), "not JSON"),
    ],
)
def test_what_is_no_such_file_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadDelta, match=reason):
        decode_json(body)


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legacy_json, "MAX_JSON_BYTES", 2**20)
    with pytest.raises(BadDelta, match="unpacks to more than 1,048,576"):
        decode_json(zipped(b" " * 2**24))


def make_directory(folder: Path, count: int = 30, collection: str = "any") -> np.ndarray:
    made = chromadb.PersistentClient(str(folder)).create_collection(collection, embedding_function=None)
    embeddings = vectors(count)
    metadatas: Any = [{"n": place} if place % 2 else None for place in range(count)]
    documents = [f"text {place}" for place in range(count)]
    made.upsert([f"r{place}" for place in range(count)], embeddings, metadatas, documents)
    return embeddings


def write(house: House, folder: Path, workspace: Path) -> tuple[str, str]:
    return write_chroma_delta(folder, "lines", store=house.deltas, settings=house.stores.settings, workspace=workspace)


def one(house: House) -> PendingDelta:
    (delta,) = list_pending(house.deltas, "lines", house.stores.settings).deltas
    return delta


def test_a_chroma_directory_is_written_read_quarantined_replayed_and_retired_as_one_delta(tmp_path: Path) -> None:
    house = House(legacy="lines")
    settings = house.stores.settings.resolve("lines")
    embeddings = make_directory(tmp_path / "made")
    key, etag = write(house, tmp_path / "made", tmp_path)
    assert [written.key for written in house.deltas.list_versions("delta/")].count(key) == 1
    house.clock.advance(2_000)
    delta = one(house)
    assert (delta.key, delta.etag) == (key, etag)
    rows = read_fetched(fetch_delta(house.deltas, delta, settings, tmp_path), settings)
    order = np.argsort([int(row_id[1:]) for row_id in rows.ids])
    assert rows.embeddings[order].tobytes() == embeddings.tobytes()
    assert [rows.documents[place] for place in order] == [f"text {place}" for place in range(30)]
    assert [rows.metadatas[place] for place in order] == [{"n": place} if place % 2 else {} for place in range(30)]
    quarantine_delta(delta, "why", header=None, run="r", stores=house.stores, clock=house.clock)
    assert house.keys("delta") == []
    written = replay("lines", delta.delta_id, stores=house.stores, clock=house.clock, workspace=tmp_path)
    assert written.embedding_count == 30
    assert house.keys() == [written.delta_key]
    key, etag = write(house, tmp_path / "made", tmp_path)
    assert retire_delta(house.deltas, key, etag) is True
    assert house.keys() == [written.delta_key]
    assert sorted(path.name for path in tmp_path.glob("*") if path.is_dir()) == ["made"]


def test_a_directory_whose_index_is_damaged_is_a_verdict_and_not_a_crash(tmp_path: Path) -> None:
    house = House(legacy="lines")
    made = chromadb.PersistentClient(str(tmp_path / "made")).create_collection(
        "any", embedding_function=None, configuration={"hnsw": {"sync_threshold": 5, "batch_size": 2}}
    )
    made.upsert([f"r{place}" for place in range(30)], vectors(30))
    write(house, tmp_path / "made", tmp_path)
    house.clock.advance(2_000)
    header = next(found.key for found in one(house).objects if found.key.endswith("/header.bin"))
    house.deltas.put(header, b"\xff" * len(house.deltas.get(header).body))
    house.clock.advance(2_000)
    with pytest.raises(BadDelta):
        read_delta(house.deltas, one(house), house.stores.settings.resolve("lines"), tmp_path)


def test_a_directory_that_never_ends_is_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sqlite runs what a file says: a view in the place of a table, whose rows have no end."""
    monkeypatch.setattr(legacy_chroma, "PATIENCE", 0.15)
    house = House(legacy="lines")
    for name, body in unpacked(endless("embeddings")).items():
        house.deltas.put(f"delta/9c/{name}", body)
    house.clock.advance(2_000)
    with pytest.raises(BadDelta, match="ended Chroma with SIGXCPU"):
        read_delta(house.deltas, one(house), house.stores.settings.resolve("lines"), tmp_path)


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ({"5f/header.bin": b"x"}, "has no chroma.sqlite3"),
        ({"chroma.sqlite3": b"not a database"}, "Error"),
        ({"chroma.sqlite3": b"x", "../../x": b"x"}, "leaves its folder"),
        ({"chroma.sqlite3": b"x", ".": b"x"}, "leaves its folder"),
        ({"chroma.sqlite3": b"x", "a//x": b"x"}, "leaves its folder"),
        ({"chroma.sqlite3": b"x", "a\nb": b"x"}, "leaves its folder"),
        ({"chroma.sqlite3": b"x", "x" * 256: b"x"}, "too long a name"),
        ({"chroma.sqlite3": b"x", "d/" * 100 + "x": b"x"}, "too long a name"),
        ({"chroma.sqlite3": b"x", "chroma.sqlite3/x": b"x"}, "is a file and a folder"),
    ],
)
def test_what_is_no_chroma_directory_is_refused(objects: dict[str, bytes], reason: str, tmp_path: Path) -> None:
    house = House(legacy="lines")
    for name, body in objects.items():
        house.deltas.put(f"delta/9c/{name}", body)
    house.clock.advance(2_000)
    with pytest.raises(BadDelta, match=reason):
        read_delta(house.deltas, one(house), house.stores.settings.resolve("lines"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_changed_since_it_was_listed_is_no_verdict(tmp_path: Path) -> None:
    house = House(legacy="lines")
    house.deltas.put("delta/9c/chroma.sqlite3", b"x")
    house.clock.advance(2_000)
    delta = one(house)
    house.deltas.put("delta/9c/chroma.sqlite3", b"y")
    with pytest.raises(PreconditionFailed):
        read_delta(house.deltas, delta, house.stores.settings.resolve("lines"), tmp_path)


def test_a_directory_is_checked_before_it_is_written_and_only_where_it_would_be_read(tmp_path: Path) -> None:
    house = House(legacy="lines")
    made = chromadb.PersistentClient(str(tmp_path / "made")).create_collection("any", embedding_function=None)
    made.upsert(["a"], [[1.0, 2.0]])
    with pytest.raises(BadDelta, match="its dimension is 2, not 4"):
        write(house, tmp_path / "made", tmp_path)
    with pytest.raises(BadSettings, match="'lines', not 'texts'"):
        write_chroma_delta(tmp_path, "texts", store=house.deltas, settings=house.stores.settings, workspace=tmp_path)
    assert house.keys() == []
