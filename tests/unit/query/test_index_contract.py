"""Chroma's index and its twin in numpy answer alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from siltstone.errors import SnapshotDamaged
from siltstone.query.index import SnapshotIndex
from siltstone.query.overlay import distances
from siltstone.settings import HnswSettings
from siltstone.stores.vectors import CollectionSpec, Rows

from tests.unit.query.house import CHROMA, DIMENSION, MEMORY, Engine, names

COUNT = 300
SPACES = ["cosine", "l2", "ip"]
ENGINES = [pytest.param(CHROMA, id="chroma"), pytest.param(MEMORY, id="memory")]


def spec(space: str = "cosine") -> CollectionSpec:
    return CollectionSpec("texts", DIMENSION, space, HnswSettings())  # type: ignore[arg-type]


def rows(count: int = COUNT) -> Rows:
    made = np.random.default_rng(3).normal(size=(count, DIMENSION)).astype(np.float32)
    documents = [f"text {number} Été" if number % 5 else None for number in range(count)]
    metadatas: list[dict[str, Any]] = [
        {"n": number, "even": number % 2 == 0} if number % 7 else {} for number in range(count)
    ]
    return Rows(names(count), made, documents, metadatas)


def write(folder: Path, engine: Engine, content: Rows, space: str = "cosine") -> None:
    store = engine.store(folder, spec(space))
    if len(content):
        store.insert(content)
    store.finish()


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture(scope="module", params=SPACES)
def space(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def index(engine: Engine, space: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnapshotIndex]:
    folder = tmp_path_factory.mktemp("index") / "files"
    write(folder, engine, rows(), space)
    opened = engine.index(folder, spec(space))
    yield opened
    opened.close()


def test_it_counts_knows_and_selects(index: SnapshotIndex) -> None:
    assert index.count() == COUNT
    assert index.known(["r0001", "nobody", "r0299"]) == {"r0001", "r0299"}
    assert index.known([]) == set()
    assert sorted(index.select(None, None)) == names(COUNT)
    assert sorted(index.select({"n": {"$gte": 290}}, None)) == [
        row for number, row in enumerate(names(COUNT)) if number >= 290 and number % 7
    ]
    assert index.select({"n": {"$eq": 11}}, {"$contains": "text 11"}) == ["r0011"]
    assert index.select({"n": {"$eq": 11}}, {"$contains": "text 12"}) == []
    assert sorted(index.select(None, {"$not_contains": "Été"})) == names(COUNT)[::5]
    assert len(index.select({"n": {"$gte": 0}}, None, limit=5)) == 5
    assert len(index.select(None, None, limit=5)) == 5


def test_it_gives_what_it_selected_to_the_caller_alone(index: SnapshotIndex) -> None:
    index.select(None, None).clear()
    assert len(index.select(None, None)) == COUNT


def test_it_gets_rows_in_the_order_that_was_asked_for(index: SnapshotIndex) -> None:
    found = index.get(["r0011", "nobody", "r0007", "r0005"], embeddings=True)
    assert found.ids == ["r0011", "r0007", "r0005"]
    assert found.documents == ["text 11 Été", "text 7 Été", None]
    assert found.metadatas == [{"n": 11, "even": False}, None, {"n": 5, "even": False}]
    assert found.embeddings is not None and found.embeddings.dtype == np.float32
    np.testing.assert_allclose(found.embeddings, rows().embeddings[[11, 7, 5]], rtol=1e-6, atol=1e-6)
    assert index.get(["r0011"], embeddings=False).embeddings is None


@pytest.mark.parametrize("embeddings", [True, False])
def test_no_ids_are_no_rows(index: SnapshotIndex, embeddings: bool) -> None:
    for asked in ([], ["nobody"]):
        found = index.get(asked, embeddings=embeddings)
        assert (found.ids, found.documents, found.metadatas) == ([], [], [])
        if embeddings:
            assert found.embeddings is not None and found.embeddings.shape == (0, DIMENSION)


@pytest.mark.parametrize("n", [1, 10, COUNT, COUNT + 50])
@pytest.mark.parametrize("where", [None, {"even": {"$eq": True}}])
def test_it_finds_the_nearest(index: SnapshotIndex, space: str, n: int, where: dict[str, Any] | None) -> None:
    asked = np.random.default_rng(5).normal(size=DIMENSION).astype(np.float32)
    content = rows()
    passing = [place for place, metadata in enumerate(content.metadatas) if where is None or metadata.get("even")]
    truth = dict(
        zip(
            [content.ids[place] for place in passing],
            distances(content.embeddings[passing], asked, space).tolist(),  # type: ignore[arg-type]
            strict=True,
        )
    )
    found = index.search(asked, n, where, None, embeddings=True)
    assert found.distances is not None and found.distances.dtype == np.float64
    assert len(found.ids) == len(set(found.ids)) == min(n, len(truth))
    np.testing.assert_allclose(found.distances, sorted(truth.values())[:n], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.distances, [truth[row] for row in found.ids], rtol=1e-5, atol=1e-4)
    assert found.documents == [content.documents[content.ids.index(row)] for row in found.ids]
    assert found.embeddings is not None and found.embeddings.shape == (min(n, len(truth)), DIMENSION)
    assert index.rank(asked, n, where, None) == found.ids


def test_an_empty_one_answers_with_nothing(engine: Engine, tmp_path: Path) -> None:
    write(tmp_path / "files", engine, rows(0))
    opened = engine.index(tmp_path / "files", spec())
    asked = np.ones(DIMENSION, np.float32)
    found = opened.search(asked, 3, None, None, embeddings=True)
    assert (found.ids, opened.count(), opened.select(None, None), opened.rank(asked, 3, None, None)) == ([], 0, [], [])
    assert found.distances is not None and found.distances.shape == (0,)
    assert found.embeddings is not None and found.embeddings.shape == (0, DIMENSION)
    assert opened.search(asked, 3, {"n": {"$eq": 1}}, None, embeddings=False).ids == []
    opened.close()


def test_a_directory_of_another_collection_or_of_nothing_is_damage(engine: Engine, tmp_path: Path) -> None:
    write(tmp_path / "files", engine, rows(3))
    with pytest.raises(SnapshotDamaged):
        engine.index(tmp_path / "files", CollectionSpec("others", DIMENSION, "cosine", HnswSettings()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SnapshotDamaged):
        engine.index(tmp_path / "empty", spec())


def test_more_rows_than_one_statement_takes_are_read_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siltstone.query.index_chroma._PAGE", 7)
    write(tmp_path / "files", CHROMA, rows(30))
    opened = CHROMA.index(tmp_path / "files", spec())
    asked = names(30)[::-1]
    assert opened.get(asked, embeddings=True).ids == asked
    assert opened.known(asked) == set(asked)
    opened.close()


def test_neither_onnx_nor_any_default_model_is_needed(tmp_path: Path) -> None:
    """They are left out of the image."""
    write(tmp_path / "files", CHROMA, rows(30))
    script = f"""
import sys
for name in ("onnxruntime", "tokenizers", "sentence_transformers", "kubernetes", "uvicorn"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from pathlib import Path
from siltstone.query.index_chroma import open_index
from siltstone.settings import HnswSettings
from siltstone.stores.vectors import CollectionSpec
index = open_index(Path({str(tmp_path / "files")!r}), CollectionSpec("texts", {DIMENSION}, "cosine", HnswSettings()))
where = {{"n": {{"$gt": 2}}}}
found = index.search(np.ones({DIMENSION}, np.float32), 3, where, {{"$contains": "text"}}, embeddings=True)
index.close()
print(len(found.ids))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": "core", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout.strip(), ran.returncode) == ("3", 0), ran.stderr
