"""The program of docs/migration.md, run."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pinecone
import pytest
import siltstone

from tests.unit.dual.conftest import Both, vectors

PAGE = Path(__file__).parents[3] / "docs" / "migration.md"


def test_the_line_that_changes_runs_as_it_is_written(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = PAGE.read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (setting,) = re.findall(r"SILTSTONE_MIGRATION_PHASES='(.*?)'", page)
    client = both.siltstone.index._namespaces._client
    monkeypatch.setattr(siltstone, "connect", lambda **_: client)
    monkeypatch.setattr(pinecone, "Pinecone", lambda: SimpleNamespace(Index=lambda _: both.pinecone))
    monkeypatch.setenv("SILTSTONE_MIGRATION_PHASES", setting)
    names: dict[str, Any] = {}
    exec(program.replace("/var/lib/app", str(tmp_path)), names)  # noqa: S102
    index = names["index"]
    index.upsert(vectors=vectors("a", seed=1), namespace="lines")
    index.upsert(vectors=vectors("b", seed=1), namespace="words")
    asked = index.query(vector=vectors("a", seed=1)[0]["values"], top_k=1, namespace="lines")
    assert index.drain(30)
    assert [match.id for match in asked.matches] == ["a"]
    assert index.counters.as_dict() == {"asked": 1, "same": 1, "written": 1}
    assert index.heal(0).waiting == 0
