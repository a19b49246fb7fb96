"""A verification finds whatever differs, and names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from siltstone.deltas.batch import DeltaRows
from siltstone.errors import BacklogTooLarge
from siltstone.migration.report import MigrationReport
from siltstone.migration.source import SourceVector
from siltstone.settings import Space

from tests.unit.migration.moving import Moving, index_of, vector, vectors
from tests.unit.query.house import CHROMA, MEMORY


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Moving]:
    moving = Moving(tmp_path, index_of(vectors(60)), engine=MEMORY)
    moving.copy()
    moving.clock.advance(1)
    yield moving
    moving.close()


def rewrite(moving: Moving, row: SourceVector, document: str | None = None, **metadata: object) -> None:
    fields = {**row.metadata, **metadata}
    moving.house.write(DeltaRows.upserts([row.id], row.values[None, :], [document or str(fields["text"])], [fields]))


def test_equal_sides_are_equal(moving: Moving) -> None:
    report = moving.verify()
    assert report.equal
    (found,) = report.namespaces
    assert (found.said, found.seen, found.here, found.same, found.bitwise) == (60, 60, 60, 60, 60)
    assert found.overlap is not None
    assert (found.overlap.queries, found.overlap.found, found.overlap.shared) == (20, 1.0, 1.0)


def test_a_missing_row_is_named(moving: Moving) -> None:
    moving.house.delete("r00017")
    report = moving.verify()
    assert not report.equal
    assert report.namespaces[0].missing_here == ["r00017"]
    assert "missing here: r00017" in report.text()


def test_a_row_that_only_we_have_is_named(moving: Moving) -> None:
    moving.house.upsert("a-stranger", "z-stranger")
    report = moving.verify()
    assert not report.equal
    assert report.namespaces[0].only_here == ["a-stranger", "z-stranger"]


def test_one_missing_and_one_too_many_do_not_hide_each_other(moving: Moving) -> None:
    moving.house.delete("r00017")
    moving.house.upsert("a-stranger")
    (found,) = moving.verify().namespaces
    assert found.said == found.here == 60
    assert (found.missing_here, found.only_here) == (["r00017"], ["a-stranger"])


@pytest.mark.parametrize("what", ["vector", "metadata", "document", "another key", "a type"])
def test_a_row_that_differs_is_named_with_what_differs_and_both_checksums(moving: Moving, what: str) -> None:
    row = vector("r00021")
    match what:
        case "vector":
            values = row.values.copy()
            values[3] = np.nextafter(values[3] * np.float32(1.0001), np.float32(np.inf))
            rewrite(moving, SourceVector(row.id, values, row.metadata))
        case "metadata":
            rewrite(moving, row, share=0.2)
        case "document":
            rewrite(moving, row, document="another")
        case "another key":
            rewrite(moving, row, more="than it had")
        case _:
            rewrite(moving, row, n=float(len(row.id)))
    report = moving.verify()
    assert not report.equal
    (found,) = report.namespaces[0].different
    assert found.id == "r00021"
    assert found.what == [what if what in {"vector", "document"} else "metadata"]
    assert (found.vector_sha256[0] == found.vector_sha256[1]) == (what != "vector")
    assert (found.metadata_sha256[0] == found.metadata_sha256[1]) == (what in {"vector", "document"})


def test_a_row_that_could_not_be_copied_is_a_difference(tmp_path: Path) -> None:
    sparse = SourceVector("sparse", np.zeros(0, np.float32), {}, {"indices": [1], "values": [1.0]})
    moving = Moving(tmp_path, index_of([*vectors(20), sparse]), engine=MEMORY)
    (item,) = moving.copy()
    assert (item.counts.left_out, item.left_out) == (1, {"sparse": "it has no dense vector, only sparse values"})
    report = moving.verify()
    assert not report.equal
    assert list(report.namespaces[0].left_out) == ["sparse"]
    moving.close()


def test_a_vector_that_was_added_since_is_a_difference(moving: Moving) -> None:
    moving.index.put("texts", vector("late"))
    report = moving.verify()
    assert report.namespaces[0].missing_here == ["late"]
    assert not report.equal


def test_nearest_that_are_not_found_are_named(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    real = moving.transport.ask

    def blind(question: dict) -> object:
        answer = real(question)
        if question["operation"] != "query":
            return answer
        results = answer.results.model_copy(
            update={"ids": answer.results.ids[5:], "distances": answer.results.distances[5:]}
        )
        return answer.model_copy(update={"results": results})

    monkeypatch.setattr(moving.transport, "ask", blind)
    report = moving.verify()
    assert not report.equal
    overlap = report.namespaces[0].overlap
    assert overlap is not None
    assert len(overlap.below) == 20
    assert overlap.worst <= 0.5


def test_equal_vectors_under_other_ids_are_no_loss(tmp_path: Path) -> None:
    twins = [vector(f"t{number:03d}", values=vector("same").values) for number in range(40)]
    moving = Moving(tmp_path, index_of([*twins, *vectors(20)]), engine=MEMORY)
    moving.copy()
    real = moving.index.query

    def other_twins(namespace: str, asked: list[float], top: int) -> list[str]:
        """As Pinecone may: ties in another order."""
        return list(reversed(real(namespace, asked, 40)))[:top] if top == 10 else real(namespace, asked, top)

    moving.index.query = lambda namespace, asked, top: (
        other_twins(namespace, asked, top)
        if np.array_equal(np.float32(asked), twins[0].values)
        else real(namespace, asked, top)
    )
    report = moving.verify()
    assert report.equal, report.text()
    overlap = report.namespaces[0].overlap
    assert overlap is not None
    assert overlap.shared < 1.0 == overlap.found
    moving.close()


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_equal_before_a_compaction_between_and_after(tmp_path: Path, space: Space) -> None:
    metric = {"cosine": "cosine", "l2": "euclidean", "ip": "dotproduct"}[space]
    metadata = {"text": "a \0 b", "third": 1 / 3, "small": 5e-324, "large": 1.7e308, "minus": -0.0, "none": None}
    rows = [vector(f"r{number:03d}", metadata={**metadata, "n": number}) for number in range(40)]
    moving = Moving(tmp_path, index_of(rows, metric=metric), engine=CHROMA, space=space)
    moving.copy(rows=20)
    assert moving.verify().equal
    moving.house.compact()
    report = moving.verify()
    assert report.equal, report.text()
    assert moving.keys("texts") == []
    assert report.namespaces[0].json_keys == {"none": 40}
    moving.index.put("texts", vector("later"))
    moving.copy("second")
    assert moving.verify().equal
    moving.close()


def test_a_report_survives_json_and_shortens_its_text_alone(moving: Moving) -> None:
    moving.house.delete(*[f"r{number:05d}" for number in range(30)])
    report = moving.verify()
    document = json.loads(report.model_dump_json())
    assert document["equal"] is False
    assert len(document["namespaces"][0]["missing_here"]) == 30
    assert "and 10 more" in report.text()
    fields = {name: value for name, value in document.items() if name != "equal"}
    fields["namespaces"] = [{k: v for k, v in each.items() if k != "equal"} for each in fields["namespaces"]]
    assert MigrationReport.model_validate(fields) == report


def test_nothing_here_yet_is_all_missing(tmp_path: Path) -> None:
    moving = Moving(tmp_path, index_of(vectors(12)), engine=MEMORY)
    (found,) = moving.verify().namespaces
    assert (found.here, len(found.missing_here), found.overlap) == (0, 12, None)
    moving.close()


def test_more_pending_than_a_strong_read_holds_asks_for_a_compaction(
    moving: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving.transport._readers.pending, "_max_bytes", 1_000)
    with pytest.raises(BacklogTooLarge, match="Compact it first: siltstone compact start texts"):
        moving.verify()
