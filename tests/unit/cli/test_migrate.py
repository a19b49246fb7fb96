"""``siltstone migrate pinecone`` over an index in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from siltstone.errors import IndexUnavailable
from siltstone.migration.source import SourceVector
from siltstone.migration.source_memory import MemoryIndex
from siltstone.query.index_memory import open_memory_index
from siltstone_cli import migrate_pinecone
from siltstone_local.paths import PROJECT

from tests.unit.scrub.house import COLLECTION, DIMENSION, House

Run = Callable[..., Any]


def rows(count: int) -> list[SourceVector]:
    values = np.random.default_rng(3).normal(size=(count, DIMENSION)).astype(np.float32)
    return [SourceVector(f"p{place:04d}", values[place], {"text": f"t{place}", "n": place}) for place in range(count)]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> MemoryIndex:
    index = MemoryIndex({"receipts": rows(120)}, dimension=DIMENSION, name="receipts.svc.pinecone.io")
    monkeypatch.setattr(migrate_pinecone, "open_pinecone", lambda *_, **__: index)
    monkeypatch.setattr("siltstone.query.index_chroma.open_index", open_memory_index)
    return index


@pytest.fixture
def house(tmp_path: Path) -> House:
    """The collection ``lines`` before anything was written."""
    return House(tmp_path)


def migrate(run: Run, *options: str) -> Any:
    return run("migrate", "pinecone", "receipts", "--map", f"receipts={COLLECTION}", *options)


def test_an_index_is_copied_and_both_sides_are_compared(
    run: Run, index: MemoryIndex, house: House, tmp_path: Path
) -> None:
    done = migrate(run, "--page-size", "50")
    assert done.exit_code == 0, done.output
    assert "receipts → lines: 120 vectors in 3 deltas" in done.stdout
    again = json.loads(migrate(run, "--page-size", "50", "--json").stdout)
    assert again["migrations"][0]["counts"]["written"] == 120
    assert len(list(house.deltas.list("deltas/"))) == 3
    file = tmp_path / "report.json"
    compared = migrate(run, "--verify", "--report", str(file))
    assert compared.exit_code == 0, compared.output
    assert "equal: receipts -> lines: 120 vectors said" in compared.stdout
    assert json.loads(file.read_text())["equal"] is True


def test_a_difference_ends_with_1_and_the_ids(run: Run, index: MemoryIndex, house: House) -> None:
    migrate(run)
    house.erase("p0007")
    done = migrate(run, "--verify")
    assert done.exit_code == 1
    assert "missing here: p0007" in done.stdout
    document = json.loads(migrate(run, "--verify", "--json").stdout)
    assert document["namespaces"][0]["missing_here"] == ["p0007"]


def test_what_can_not_be_copied_ends_with_1_and_is_named(run: Run, index: MemoryIndex, house: House) -> None:
    index.put("receipts", SourceVector("zero", np.zeros(DIMENSION, np.float32)))
    done = migrate(run)
    assert done.exit_code == 1
    assert "left out zero: a zero vector has no direction" in done.stderr


def test_a_dry_run_copies_nothing(run: Run, index: MemoryIndex, house: House) -> None:
    done = migrate(run, "--dry-run")
    assert done.exit_code == 0
    assert "Nothing was copied" in done.stdout
    found = json.loads(migrate(run, "--dry-run", "--json").stdout)["namespaces"][0]
    assert (found["vectors"], found["deltas"]) == (120, 1)
    assert list(house.deltas.list("deltas/")) == []


def test_ids_come_from_a_file(run: Run, index: MemoryIndex, house: House, tmp_path: Path) -> None:
    index._lists = False
    refused = migrate(run)
    assert refused.exit_code == 1
    assert "--ids-from FILE" in refused.stderr
    (tmp_path / "ids").write_text("\n".join(f"p{place:04d}" for place in range(120)))
    assert migrate(run, "--ids-from", str(tmp_path / "ids"), "--name", "by-file").exit_code == 0
    assert migrate(run, "--verify", "--ids-from", str(tmp_path / "ids")).exit_code == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--dry-run", "--verify"], 2, "three things"),
        (["--report", "x.json"], 2, "Add --verify"),
        (["--map", "lines"], 2, "--map NAMESPACE=COLLECTION"),
        (["--ids-from", "/nowhere", "--ids-from-sources"], 2, "two lists"),
        (["--ids-from", "/nowhere"], 2, "can't be read"),
        (["--page-size", "0"], 2, "page size is 0"),
        (["--name", "a b"], 2, "not usable"),
        (["--namespace", "nowhere"], 2, "it has 'receipts'"),
        (["--metric", "euclidean"], 1, "metric is cosine, not euclidean"),
    ],
)
def test_a_wrong_command_line_is_a_sentence(
    run: Run, index: MemoryIndex, options: list[str], code: int, words: str
) -> None:
    done = migrate(run, *options)
    assert done.exit_code == code
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_an_index_that_does_not_answer_is_unreachable_and_the_copy_goes_on_later(
    run: Run, index: MemoryIndex, house: House
) -> None:
    fetched = 0

    def dies(request: str) -> None:
        nonlocal fetched
        fetched += request == "fetch"
        if fetched > 1:
            raise IndexUnavailable("Fetching 100 vectors: 503.")

    index.fault = dies
    done = migrate(run, "--page-size", "50")
    assert done.exit_code == 3
    assert "503" in done.stderr
    index.fault = lambda request: None
    assert json.loads(migrate(run, "--page-size", "50", "--json").stdout)["migrations"][0]["counts"]["written"] == 120


def test_without_a_key_or_the_client_it_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PINECONE_API_KEY", "PINECONE_INDEX_NAME", "PINECONE_HOST"):
        monkeypatch.delenv(name, raising=False)
    done = run("migrate", "pinecone", "receipts")
    assert done.exit_code == 2
    assert "PINECONE_API_KEY is not set" in done.stderr
    monkeypatch.setenv("PINECONE_API_KEY", "secret-key")
    done = run("migrate", "pinecone")
    assert done.exit_code == 2
    assert "which index" in done.stderr
    monkeypatch.setitem(sys.modules, "pinecone", None)
    done = run("migrate", "pinecone", "receipts")
    assert done.exit_code == 2
    assert 'pip install "siltstone[pinecone]"' in done.stderr
    assert "secret-key" not in done.output


def test_the_script_is_the_command() -> None:
    script = PROJECT / "scripts" / "migrate_pinecone_to_chroma.py"
    env = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True, env=env)
    assert "--ids-from-sources" in done.stdout
    assert "--dry-run" in done.stdout
