"""The report: complete, ordered, and explained to whoever reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from siltstone.verify.findings import Code, Findings, Report

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_each_finding_is_explained_in_the_operators_guide_and_nothing_else_is() -> None:
    section = OPERATIONS.read_text().partition("## Verify")[2]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    explained = [code for row in rows for code in re.findall(r"`([a-z-]+)`", row.split("|")[1])]
    assert sorted(explained) == sorted(get_args(Code))


def test_the_worst_comes_first() -> None:
    findings = Findings()
    findings.info("quarantined", "a", "One.")
    findings.warning("key-strange", "b", "Two.", "Look.")
    findings.error("file-missing", "d", "Three.", "Act.")
    findings.error("file-damaged", "c", "Four.", "Act.")
    assert [found.key for found in findings.sorted()] == ["c", "d", "b", "a"]


def test_only_errors_are_damage() -> None:
    findings = Findings()
    findings.warning("key-strange", "b", "Two.", "Look.")
    assert not _report(findings).damaged
    findings.error("file-missing", "d", "Three.", "Act.")
    assert _report(findings).damaged
    assert Report.model_validate_json(_report(findings).model_dump_json()) == _report(findings)


def _report(findings: Findings) -> Report:
    return Report(
        collection="lines",
        version=None,
        deep=False,
        current=None,
        started_at="",
        seconds=0,
        figures=findings.figures,
        findings=findings.sorted(),
    )
