"""The index in memory, and Pinecone's own client over a local server: one contract for both, and what that one adds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from siltstone.errors import BadSettings, IndexRefused, IndexUnavailable
from siltstone.migration.source import SourceIndex, SourceVector
from siltstone.migration.source_memory import MemoryIndex
from siltstone.migration.source_pinecone import PineconeIndex, open_pinecone
from siltstone.migration.walk import Listing, ids_of_file
from siltstone_local.pinecone_server import Faults, PineconeThread, ReplyFault, Seeded

from tests.unit.migration.moving import Moving
from tests.unit.query.house import DIMENSION, MEMORY

COUNT = 600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PineconeThread]:
    with PineconeThread(tmp_path_factory.mktemp("pinecone")) as server:
        yield server


@pytest.fixture(scope="module")
def seeded(server: PineconeThread) -> Seeded:
    return server.fill("receipts", vectors=COUNT, dimension=DIMENSION, old_metadata=True)


@pytest.fixture
def pinecone(server: PineconeThread, seeded: Seeded) -> Iterator[PineconeIndex]:
    index = open_pinecone(host=server.host("receipts"), api_key="any", timeout=10.0)
    yield index
    index.close()
    server.clear_faults()


@pytest.fixture(params=["memory", "pinecone"])
def index(request: pytest.FixtureRequest, seeded: Seeded) -> SourceIndex:
    if request.param == "pinecone":
        return request.getfixturevalue("pinecone")
    rows = {
        name or "__default__": [
            SourceVector(row.id, row.dense, dict(row.metadata or {}), row.sparse) for row in space.values()
        ]
        for name, space in seeded.namespaces.items()
    }
    return MemoryIndex(rows, dimension=DIMENSION)


def test_it_says_what_it_is_made_of(index: SourceIndex) -> None:
    found = index.shape()
    assert (found.dimension, found.metric) == (DIMENSION, "cosine")
    assert dict(found.namespaces) == {"words": 360, "lines": 210, "__default__": 30}


@pytest.mark.parametrize("namespace", ["words", "lines", "__default__"])
def test_every_id_is_listed_once_and_every_vector_is_fetched_exactly(
    index: SourceIndex, seeded: Seeded, namespace: str
) -> None:
    expected = seeded.namespaces["" if namespace == "__default__" else namespace]
    walk, ids, cursor = Listing(index), list[str](), None
    while True:
        page = walk.page(namespace, cursor, 150)
        ids += page.ids
        cursor = page.next
        if cursor is None:
            break
    assert sorted(ids) == sorted(expected)
    found = {row.id: row for start in range(0, len(ids), 50) for row in index.fetch(namespace, ids[start : start + 50])}
    assert found.keys() == expected.keys()
    for row_id, row in found.items():
        assert row.values.dtype == np.float32
        assert np.array_equal(row.values, expected[row_id].dense)
        assert row.metadata == (expected[row_id].metadata or {})
        assert row.sparse == expected[row_id].sparse


def test_an_id_that_is_not_there_is_left_out(index: SourceIndex, seeded: Seeded) -> None:
    there = next(iter(seeded.namespaces["lines"]))
    assert [row.id for row in index.fetch("lines", ["gone", there])] == [there]


def test_the_nearest_to_a_vector_is_itself(index: SourceIndex, seeded: Seeded) -> None:
    row = seeded.namespaces["words"]["upper"]
    assert index.query("words", row.dense.tolist(), 3)[0] == "upper"


# What the real client adds ------------------------------------------------------------------------
def test_a_whole_index_is_copied_through_a_server_that_throttles_and_fails(
    server: PineconeThread, pinecone: PineconeIndex, tmp_path: Path
) -> None:
    server.set_faults(Faults(throttle_every_nth=4, fail_every_nth=11, retry_after_seconds=0.0))
    moving = Moving(tmp_path, pinecone, engine=MEMORY)
    items = moving.copy(rows=100, fetch=50, mapping={"": "texts"})
    assert sum(item.counts.written for item in items) == COUNT
    server.clear_faults()
    report = moving.verify(mapping={"": "texts"})
    assert report.equal, report.text()
    assert report.namespaces[0].json_keys.keys() >= {"merchant", "mixed", "nested", "chroma:document"}
    moving.close()


def test_throttled_for_longer_than_the_client_waits_it_is_unavailable_with_the_time_to_wait(
    server: PineconeThread, pinecone: PineconeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinecone._internal.http_client._retry_sleep", lambda seconds: None)
    server.set_faults(Faults(throttle_every_nth=1, retry_after_seconds=7.0))
    with pytest.raises(IndexUnavailable, match="429") as raised:
        pinecone.list_ids("words", None, 10)
    assert raised.value.retry_after == 7.0


def test_a_refused_request_says_what_to_do(server: PineconeThread) -> None:
    with pytest.raises(IndexRefused, match="Check the index's name"):
        open_pinecone("nothing-here", host=server.host("nothing-here"), api_key="any").shape()


def test_an_answer_that_never_comes_whole_is_unavailable(
    server: PineconeThread, pinecone: PineconeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinecone._internal.http_client._retry_sleep", lambda seconds: None)
    for kind in ("lost", "cut"):
        server.set_faults(Faults(replies=(ReplyFault(path="/vectors/list", kind=kind, times=50),)))
        with pytest.raises(IndexUnavailable):
            pinecone.list_ids("words", None, 10)


def test_a_request_that_is_too_long_for_its_way_is_halved(
    server: PineconeThread, pinecone: PineconeIndex, seeded: Seeded
) -> None:
    server.set_faults(Faults(max_url_bytes=2_000))
    ids = list(seeded.namespaces["words"])[:100]
    assert sorted(row.id for row in pinecone.fetch("words", ids)) == sorted(ids)


def test_a_pod_based_index_is_copied_by_a_list_of_ids(server: PineconeThread, tmp_path: Path) -> None:
    held = server.fill("pods", vectors=100, dimension=DIMENSION, pod_based=True)
    index = open_pinecone(host=server.host("pods"), api_key="any")
    moving = Moving(tmp_path / "stage", index, engine=MEMORY)
    with pytest.raises(IndexRefused, match="--ids-from FILE"):
        moving.copy(only=["lines"])
    ids = [row_id for row_id in held.namespaces["lines"] if "\n" not in row_id]
    (tmp_path / "ids").write_text("\n".join(ids))
    walk = ids_of_file(tmp_path / "ids")
    (item,) = moving.copy(only=["lines"], walk=walk)
    assert item.counts.written == len(ids)
    moving.close()


@pytest.mark.parametrize(("metric", "space"), [("euclidean", "l2"), ("dotproduct", "ip")])
def test_other_metrics_rank_in_the_same_way(server: PineconeThread, tmp_path: Path, metric: Any, space: Any) -> None:
    server.fill(metric, vectors=200, dimension=DIMENSION, metric=metric)
    moving = Moving(tmp_path, open_pinecone(host=server.host(metric), api_key="any"), engine=MEMORY, space=space)
    moving.copy(mapping={"": "texts"})
    report = moving.verify(mapping={"": "texts"})
    assert report.equal, report.text()
    moving.close()


def test_an_index_by_its_name_and_by_the_environment(
    server: PineconeThread, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINECONE_CONTROLLER_HOST", server.base_url)
    monkeypatch.setenv("PINECONE_API_KEY", "any")
    monkeypatch.delenv("PINECONE_HOST", raising=False)
    assert open_pinecone("receipts").shape().metric == "cosine"
    monkeypatch.setenv("PINECONE_INDEX_NAME", "receipts")
    assert open_pinecone().name == open_pinecone("receipts").name
    with pytest.raises(IndexRefused):
        open_pinecone("nothing-here")
    monkeypatch.setenv("PINECONE_API_KEY", "two\nlines")
    with pytest.raises(IndexRefused, match="API key"):
        open_pinecone("receipts")
    monkeypatch.delenv("PINECONE_API_KEY")
    with pytest.raises(BadSettings, match="PINECONE_API_KEY is not set"):
        open_pinecone("receipts")
