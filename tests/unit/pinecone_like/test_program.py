"""A program that was written against Pinecone's client, with one line changed, prints the same."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from siltstone import connect
from siltstone.pinecone_like import connecting
from siltstone_local.pinecone_server import IndexSpec, PineconeThread

from tests.unit.query.house import CHROMA, DIMENSION, House

SOURCE = (Path(__file__).parent / "program.py").read_text()
THEIRS = "from pinecone import Pinecone"
OURS = "from siltstone.pinecone_like import Pinecone"
METRICS = {"cosine": "cosine", "dotproduct": "ip", "euclidean": "l2"}


def run(source: str, between: Callable[[], object] = lambda: None) -> list[str]:
    """What the program prints. ``between``: after it has written, before it reads."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, "program.py", "exec"), names)  # noqa: S102
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        index = names["connect"]()
        names["write"](index)
        between()
        names["read"](index)
    return output.getvalue().splitlines()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("SILTSTONE_STAGE", "SILTSTONE_URL", "SILTSTONE_COLLECTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PINECONE_API_KEY", "pcsk-x")
    monkeypatch.setenv("PINECONE_INDEX_NAME", "receipts")
    return monkeypatch


@pytest.mark.filterwarnings("ignore:PINECONE_.* is deprecated")
@pytest.mark.parametrize("metric", METRICS)
def test_one_line_changed_prints_the_same(metric: Any, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with PineconeThread(tmp_path / "pinecone") as server:
        server.create_index(IndexSpec(name="receipts", dimension=DIMENSION, metric=metric))
        environment.setenv("PINECONE_HOST", server.host("receipts"))
        expected = run(SOURCE)
    changed = SOURCE.replace(THEIRS, OURS)
    assert sum(a != b for a, b in zip(SOURCE.splitlines(), changed.splitlines(), strict=True)) == 1

    house = House(tmp_path / "house", CHROMA, collections=("receipts", "words", "never-written"), space=METRICS[metric])
    with connect(stores=house.stores, clock=house.clock) as client:
        environment.setattr(connecting, "_connect", lambda host: client)
        pending = run(changed)
        merged = run(changed, lambda: (house.compact("words"), house.compact("receipts")))
    house.close()
    assert pending == expected
    assert merged == expected
    assert len(expected) > 100


@pytest.mark.filterwarnings("ignore:PINECONE_.* is deprecated")
def test_the_example_of_the_page_runs(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "pinecone.md").read_text()
    example = page.partition("```python\n")[2].partition("```")[0].replace("64", str(DIMENSION))
    house = House(tmp_path / "house", CHROMA, collections=("receipts", "words"))
    output = io.StringIO()
    with connect(stores=house.stores, clock=house.clock) as client, contextlib.redirect_stdout(output):
        environment.setattr(connecting, "_connect", lambda host: client)
        exec(compile(example, "pinecone.md", "exec"), {})  # noqa: S102
    house.close()
    assert output.getvalue().startswith("[('a', ")
    assert output.getvalue().endswith(", {'n': 1.0})]\n")
