"""What can't be copied is said before anything is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from siltstone.errors import BadSettings, IndexRefused, SettingsMismatch, UnknownCollection
from siltstone.migration.estimate import estimate
from siltstone.migration.job import Pages
from siltstone.migration.patience import PatientIndex
from siltstone.migration.plan import check_name, default_name, plan_moves
from siltstone.migration.source import IndexShape
from siltstone.migration.source_memory import MemoryIndex
from siltstone.migration.walk import GivenIds, ids_of_file, ids_of_sources

from tests.unit.migration.moving import Moving, index_of, vector, vectors
from tests.unit.query.house import DIMENSION, MEMORY


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Moving]:
    index = MemoryIndex({"lines": vectors(30), "words": vectors(20), "__default__": vectors(10)})
    moving = Moving(tmp_path, index, engine=MEMORY)
    yield moving
    moving.close()


def shape(**changes: Any) -> IndexShape:
    return IndexShape(**{"dimension": DIMENSION, "metric": "cosine", "namespaces": {"lines": 3, "": 1}, **changes})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, UnknownCollection, "'__default__' would go into '__default__'.* --map __default__=COLLECTION"),
        ({"only": ["receipts"]}, BadSettings, "no namespace 'receipts'; it has '__default__', 'lines', 'words'"),
        ({"mapping": {"recipts": "texts"}}, BadSettings, "no namespace 'recipts'"),
        ({"mapping": {"": "words"}}, BadSettings, "would both go into words.*equal ids would overwrite"),
        ({"only": ["lines"], "mapping": {"lines": "nothing"}}, UnknownCollection, "'nothing', which no setting names"),
        ({"only": ["lines"], "metric": "euclidean"}, SettingsMismatch, "metric is cosine, not euclidean"),
    ],
)
def test_a_wrong_mapping_is_named(moving: Moving, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        moving.jobs(**options)
    assert moving.keys("lines") == []


@pytest.mark.parametrize(
    ("found", "error", "words"),
    [
        ({"dimension": 1536}, SettingsMismatch, f"1536 dimensions, the collection lines has {DIMENSION}"),
        ({"dimension": None}, IndexRefused, "no dense vectors"),
        (
            {"metric": "euclidean"},
            SettingsMismatch,
            "euclidean is the space 'l2'; lines has 'cosine'.*Nothing was copied",
        ),
        ({"metric": "dotproduct"}, SettingsMismatch, "dotproduct is the space 'ip'"),
        ({"metric": None}, BadSettings, "does not say what its metric is.*--metric cosine"),
        ({"metric": "hamming"}, BadSettings, "no metric 'hamming'"),
    ],
)
def test_an_index_of_another_make_is_refused(
    moving: Moving, found: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        plan_moves(shape(**found), moving.house.stores, only=["lines"])


def test_the_metric_may_be_said_where_the_index_does_not(moving: Moving) -> None:
    (move,) = plan_moves(shape(metric=None), moving.house.stores, only=["lines"], metric="cosine")
    assert (move.namespace, move.collection, move.vectors) == ("lines", "lines", 3)


def test_what_is_published_counts_more_than_the_stages_settings(moving: Moving) -> None:
    moving.house.upsert("a", collection="lines")
    moving.house.compact("lines")
    book = moving.house.book
    wrong = {name: settings.model_copy(update={"space": "l2"}) for name, settings in book.collections.items()}
    object.__setattr__(moving.house.stores, "settings", book.model_copy(update={"collections": wrong}))
    (move,) = plan_moves(shape(), moving.house.stores, only=["lines"])
    assert move.settings.space == "cosine"
    with pytest.raises(SettingsMismatch, match="words has 'l2'"):
        plan_moves(shape(namespaces={"words": 1}), moving.house.stores)


@pytest.mark.parametrize(("metric", "space"), [("cosine", "cosine"), ("euclidean", "l2"), ("dotproduct", "ip")])
def test_each_metric_has_its_space(tmp_path: Path, metric: Any, space: Any) -> None:
    moving = Moving(tmp_path, index_of(vectors(60), metric=metric), engine=MEMORY, space=space)
    moving.copy()
    report = moving.verify()
    assert report.equal, report.text()
    assert report.namespaces[0].overlap is not None
    moving.close()


def test_a_dry_run_says_how_much_it_is_and_writes_nothing(tmp_path: Path) -> None:
    rows = [vector(f"r{number:05d}", metadata={"none": None} if number == 3 else {"n": 1}) for number in range(1_234)]
    moving = Moving(tmp_path, index_of(rows), engine=MEMORY)
    (job,) = moving.jobs(rows=500, fetch=100)
    found = estimate(job, PatientIndex(moving.index, moving.clock), moving.clock, rate=2.0)
    assert (found.vectors, found.deltas, found.requests, found.sampled) == (1_234, 3, 26, 100)
    assert found.minutes == round(26 / 2 / 60, 2)
    assert 1_234 * DIMENSION * 4 * 0.8 < found.bytes < 1_234 * DIMENSION * 4 * 1.5
    assert found.usd > 0
    assert found.json_keys == {"none": 1}
    assert moving.keys("texts") == []
    assert moving.house.stores.ledger.read_migration("move", "texts") is None
    moving.close()


def test_names_sizes_and_lists_of_ids_are_checked(moving: Moving, tmp_path: Path) -> None:
    for wrong in ("", "a b", "a#b", "x" * 64, "../x"):
        with pytest.raises(BadSettings, match="name"):
            check_name(wrong)
    assert check_name(default_name("Receipts-1a2b.svc.Pinecone.io:443/x"))
    for sizes in ({"rows": 0}, {"rows": 50_001}, {"fetch": 1_001}, {"workers": 0}):
        with pytest.raises(BadSettings):
            Pages(**sizes)
    with pytest.raises(BadSettings, match=re.escape(str(tmp_path / "none"))):
        ids_of_file(tmp_path / "none")
    (tmp_path / "empty").write_text("\n\n")
    with pytest.raises(BadSettings, match="no id"):
        ids_of_file(tmp_path / "empty")
    with pytest.raises(BadSettings, match="No loaded source"):
        ids_of_sources("texts", moving.house.stores)
    assert GivenIds(["b", "a", "a"]).identity == GivenIds(["a", "b"]).identity != GivenIds(["a"]).identity
