"""Two sides are asked, one answers; the other can't harm the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from siltstone.dual import Counters, DualIndex, JsonLines
from siltstone.errors import BadSettings

from tests.unit.dual.conftest import Both, Gate, dual, vectors

IDS = [f"r{place}" for place in range(8)]


def ask(index: DualIndex, row: str = "r0", top_k: int = 3) -> list[str]:
    (vector,) = vectors(row)
    found = index.query(vector=vector["values"], top_k=top_k, namespace="lines", include_metadata=True)
    return [match.id for match in found.matches]


@pytest.mark.parametrize(
    ("phase", "asked"),
    [
        ("pinecone", {"pinecone"}),
        ("both", {"pinecone", "siltstone"}),
        ("chroma-first", {"pinecone", "siltstone"}),
        ("chroma", {"siltstone"}),
    ],
)
def test_each_phase_asks_whom_it_should_and_answers_from_the_chosen_one(
    both: Both, phase: str, asked: set[str]
) -> None:
    both.pinecone.index.upsert(vectors=vectors("r0", "in-pinecone"), namespace="lines")
    both.siltstone.index.upsert(vectors=vectors("r0", "in-siltstone"), namespace="lines")
    both.phases = {"lines": phase}
    answer = ask(both.index)
    assert both.index.drain(30)
    chosen = "pinecone" if phase in {"pinecone", "both"} else "siltstone"
    assert answer == ["r0", f"in-{chosen}"]
    assert {name for name in ("pinecone", "siltstone") if getattr(both, name).calls} == asked
    assert both.counters == ({"asked": 1, "different": 1} if len(asked) == 2 else {})


def test_equal_answers_are_counted_and_not_logged(both: Both) -> None:
    both.index.upsert(vectors=vectors(*IDS), namespace="lines")
    both.house.clock.advance(100)
    for row in IDS:
        assert ask(both.index, row)[0] == row
        assert both.index.drain(30)
    assert both.index.fetch(ids=IDS, namespace="lines").vectors.keys() == set(IDS)
    assert both.index.drain(30)
    assert both.counters == {"written": 1, "asked": 9, "same": 9}
    assert both.log == []


def test_a_difference_is_logged_with_overlap_missing_ids_and_gaps(both: Both) -> None:
    both.pinecone.index.upsert(vectors=vectors("r0", "r1", "r2", "r3"), namespace="lines")
    turned = [{**vectors("r0")[0], "values": [-v for v in vectors("r0")[0]["values"]], "metadata": {"n": 7}}]
    both.siltstone.index.upsert(vectors=[*turned, *vectors("r1", "r2", "x")], namespace="lines")
    ask(both.index, top_k=4)
    both.index.fetch(ids=["r0", "r3"], namespace="lines")
    assert both.index.drain(30)
    asked, fetched = sorted(both.log, key=lambda line: line["call"], reverse=True)
    assert (asked["what"], asked["namespace"], asked["phase"], asked["top_k"]) == ("different", "lines", "both", 4)
    assert (asked["overlap"], asked["missing"], asked["extra"]) == (0.75, ["r3"], ["x"])
    assert asked["gap"] == pytest.approx(2, abs=1e-3)  # opposite directions
    assert len(asked["vector_sha256"]) == 16
    assert (fetched["missing"], fetched["changed"], fetched["gap"]) == (["r3"], ["r0"], pytest.approx(2, abs=1))
    assert "values" not in json.dumps(both.log)


@pytest.mark.parametrize("error", [RuntimeError("down"), MemoryError("odd")])
def test_an_error_of_the_other_is_recorded_and_never_seen_by_the_caller(both: Both, error: Exception) -> None:
    both.pinecone.index.upsert(vectors=vectors("r0"), namespace="lines")
    both.siltstone.fails("query", error)
    assert ask(both.index) == ["r0"]
    assert both.index.drain(30)
    assert both.counters == {"asked": 1, "other_failed": 1}
    assert both.log[0]["error"] == f"{type(error).__name__}: {error}"


def test_an_error_of_the_chosen_one_is_the_callers(both: Both) -> None:
    both.pinecone.fails("query", RuntimeError("mine"))
    with pytest.raises(RuntimeError, match="mine"):
        ask(both.index)
    assert both.index.drain(30)
    assert both.counters == {"asked": 1, "chosen_failed": 1}


def test_a_side_that_hangs_delays_nothing_and_is_asked_no_more_than_allowed(both: Both) -> None:
    both.pinecone.index.upsert(vectors=vectors("r0"), namespace="lines")
    gate = Gate()
    both.siltstone.before["query"] = gate
    index = dual(both, at_once=2)
    for _ in range(5):
        assert ask(index) == ["r0"]  # while the other hangs
    assert index.counters.as_dict() == {"asked": 5, "not_asked": 3}
    both.house.clock.advance(2.5)  # past the time limit: reported although no answer ever came
    assert ask(index) == ["r0"]
    assert index.counters.as_dict() == {"asked": 6, "not_asked": 4, "other_slow": 2}
    assert [line["other_ms"] for line in both.log] == [2500.0, 2500.0]
    gate.open.set()
    assert index.drain(30)
    assert both.siltstone.calls.count("query") == 2
    assert index.counters.as_dict()["other_slow"] == 2  # each once
    both.siltstone.recovers()
    ask(index)
    assert index.drain(30)
    assert index.counters.as_dict()["asked"] == 7
    assert both.siltstone.calls.count("query") == 3


def test_draining_waits_no_longer_than_it_may(both: Both) -> None:
    both.pinecone.index.upsert(vectors=vectors("r0"), namespace="lines")
    gate = Gate()
    both.siltstone.before["query"] = gate
    ask(both.index)
    assert both.index.drain(0.05) is False
    gate.open.set()
    assert both.index.drain(30) is True


def test_the_log_keeps_to_its_bound_and_a_log_that_fails_harms_nothing(both: Both, tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "logs" / "x.jsonl", max_bytes=1_000)
    assert all(log.write({"number": number, "text": "ä" * 20}) for number in range(200))
    files = sorted((tmp_path / "logs").iterdir())
    assert [path.name for path in files] == ["x.jsonl", "x.jsonl.1"]
    assert all(path.stat().st_size <= 1_000 for path in files)
    lines = [json.loads(line) for path in reversed(files) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(200 - len(lines), 200))

    both.pinecone.index.upsert(vectors=vectors("r0"), namespace="lines")
    (both.folder / "differences.jsonl").mkdir()  # nothing can be written there
    assert ask(both.index) == ["r0"]
    assert both.index.drain(30)
    assert both.counters == {"asked": 1, "different": 1, "log_failed": 1}


def test_a_phase_is_read_at_each_call(both: Both) -> None:
    both.pinecone.index.upsert(vectors=vectors("p"), namespace="lines")
    both.siltstone.index.upsert(vectors=vectors("s"), namespace="lines")
    seen: list[Any] = []
    for phase in ("pinecone", "chroma", "both", "chroma-first"):
        both.phases = {"lines": phase}
        seen += ask(both.index)
        assert both.index.drain(30)
    assert seen == ["p", "s", "p", "s"]


def test_the_ids_and_counts_are_those_of_the_chosen_one(both: Both) -> None:
    both.pinecone.index.upsert(vectors=vectors("p1", "p2"), namespace="lines")
    both.siltstone.index.upsert(vectors=vectors("s1"), namespace="lines")

    def seen() -> tuple[list[str], list[str], int]:
        listed = [
            each if isinstance(each, str) else each.id for page in both.index.list(namespace="lines") for each in page
        ]
        page = both.index.list_paginated(namespace="lines")
        return listed, [each.id for each in page.vectors], both.index.describe_index_stats().total_vector_count

    assert seen() == (["p1", "p2"], ["p1", "p2"], 2)
    both.phases = {"*": "chroma-first"}
    assert seen() == (["s1"], ["s1"], 1)


def test_a_side_that_is_gone_is_only_missed_where_a_phase_needs_it(both: Both) -> None:
    both.siltstone.index.upsert(vectors=vectors("s"), namespace="lines")
    alone = DualIndex(
        None,
        both.siltstone,
        journal=both.journal,
        log=JsonLines(both.folder / "log"),
        phases=both.index._phases,
        counters=Counters(),
        clock=both.house.clock,
    )
    with pytest.raises(BadSettings, match="needs pinecone"):
        ask(alone)
    both.phases = {"*": "chroma"}
    assert ask(alone) == ["s"]
