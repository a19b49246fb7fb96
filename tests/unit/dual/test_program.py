"""A program that was written against Pinecone's client prints the same in every phase."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from tests.unit.dual.conftest import Both
from tests.unit.pinecone_like.test_program import SOURCE, run

OURS = SOURCE.replace("from pinecone import Pinecone", "from sides import Pinecone")


def test_it_prints_the_same_in_every_phase(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    class Pinecone:
        def __init__(self, **_: Any) -> None: ...
        def Index(self, **_: Any) -> Any:  # noqa: N802
            return both.index

    sides = ModuleType("sides")
    sides.Pinecone = Pinecone  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sides", sides)
    monkeypatch.setenv("PINECONE_API_KEY", "any")
    monkeypatch.setenv("PINECONE_HOST", "any")
    printed: dict[str, list[str]] = {}
    for phase in ("pinecone", "both", "chroma-first", "chroma"):
        both.phases = {"*": phase}
        printed[phase] = run(OURS)
        assert both.index.drain(60)
        both.house.clock.advance(100)
        for side in (both.pinecone, both.siltstone):
            for namespace in ("words", "__default__"):
                with suppress(Exception):  # it may be empty
                    side.index.delete(delete_all=True, namespace=namespace)
    assert printed["both"] == printed["pinecone"]
    assert printed["chroma"] == printed["chroma-first"]
    numbers = both.counters
    compared = numbers["same"] + numbers.get("different", 0)
    assert numbers["asked"] == compared + numbers.get("not_asked", 0)
    assert "other_failed" not in numbers
    assert "other_write_failed" not in numbers
    assert both.journal.marks() == []
