"""The switch: a setting for each namespace, checked, read at run time."""

from __future__ import annotations

from pathlib import Path

import pytest
from siltstone.dual import Phase, Phases, phases_from_environment, phases_from_file
from siltstone.errors import BadSettings


def test_a_namespace_has_its_own_phase_or_that_of_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SILTSTONE_MIGRATION_PHASES", '{"lines": "chroma-first", "*": "both"}')
    assert phases_from_environment().of("lines") is Phase.CHROMA_FIRST
    assert phases_from_environment().of("words") is Phase.BOTH
    monkeypatch.setenv("SILTSTONE_MIGRATION_PHASES", "chroma")
    assert phases_from_environment().of("lines") is Phase.CHROMA


def test_a_file_that_is_replaced_switches_a_process_that_runs_on(tmp_path: Path) -> None:
    phases = phases_from_file(tmp_path / "phases.json")
    with pytest.raises(BadSettings, match="can't be read"):
        phases()
    (tmp_path / "phases.json").write_text('{"lines": "both"}\n')
    assert phases().of("lines") is Phase.BOTH
    (tmp_path / "phases.json").write_text('{"lines": "chroma-first"}\n')
    assert phases().of("lines") is Phase.CHROMA_FIRST


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "SILTSTONE_MIGRATION_PHASES is not set"),
        ("{", "not JSON"),
        ('{"lines": "chroma_first"}', "'lines' is 'chroma_first'.*pinecone, both, chroma-first, chroma"),
        ("later", r"'\*' is 'later'"),
        ('{"lines": 1}', "'lines' is 1"),
    ],
)
def test_what_is_wrong_is_named(text: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SILTSTONE_MIGRATION_PHASES", raising=False)
    if text is not None:
        monkeypatch.setenv("SILTSTONE_MIGRATION_PHASES", text)
    with pytest.raises(BadSettings, match=words):
        phases_from_environment()


def test_a_namespace_without_a_phase_is_not_guessed() -> None:
    with pytest.raises(BadSettings, match="No phase is set for the namespace 'words'"):
        Phases.parse('{"lines": "both"}').of("words")
