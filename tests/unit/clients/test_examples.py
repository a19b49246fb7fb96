"""The examples of docs/reading.md run, in their order, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import siltstone

from tests.contracts.collections import ROWS
from tests.unit.clients.conftest import Stage

PAGE = Path(__file__).parents[3] / "docs" / "reading.md"
KINDS = ("stores", "function", "url", "path")


def test_the_examples_of_the_page_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = PAGE.read_text().partition("## From Python\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(examples) == 3
    places = list[str]()

    def connect(place: str) -> siltstone.Client:
        places.append(place)
        return stage.client("function")

    monkeypatch.setattr(siltstone, "connect", connect, raising=False)
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)  # noqa: S102
    assert places == ["dev", "dev"]
    assert f"{len(ROWS)} {stage.version}" in capsys.readouterr().out
    assert ROWS[names["nearest"][0]][1]["odd"]
    assert names["page"]["ids"] == list(ROWS)[10:15]
    assert names["again"] == [["a brass compass"]]
    assert [kite.metadata for kite in names["kites"]] == [{"n": 101}]
    assert names["texts"].get(["n1", "n2"])["ids"] == []


def test_whoever_answers_the_answers_are_the_same(stage: Stage) -> None:
    clients = {kind: stage.client(kind) for kind in KINDS}
    everything = ["metadatas", "documents", "distances", "embeddings"]
    answers: dict[str, list[Any]] = {}
    for kind, client in clients.items():
        texts = client.collection("texts")
        answers[kind] = [
            texts.query(query_texts=["apple", "violin number 4"], n_results=7, include=everything),
            texts.query(query_texts=["x"], where={"$or": [{"n": {"$lt": 2.5}}, {"thing": "apple"}]}, n_results=20),
            texts.get(include=["metadatas", "documents", "embeddings"]),
            texts.get(["t09", "nobody", "t01"], where_document={"$contains": "number"}),
            texts.get(where={"odd": True}, limit=4, offset=2),
            texts.count(where={"n": {"$gt": 20}}),
            texts.peek(3),
        ]
        client.close()
    for kind in KINDS[1:]:
        assert [plain(each) for each in answers[kind]] == [plain(each) for each in answers["stores"]], kind
        for one, other in zip(answers[kind], answers["stores"], strict=True):
            assert getattr(one, "answered_from", None) == getattr(other, "answered_from", None)


def plain(answer: Any) -> Any:
    """Arrays as lists, which compare; to the bit."""
    if isinstance(answer, dict):
        return {name: plain(column) for name, column in answer.items()}
    if isinstance(answer, list):
        return [plain(each) for each in answer]
    return answer.tolist() if isinstance(answer, np.ndarray) else answer
