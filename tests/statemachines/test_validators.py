"""The state machines pass two independent validators, and the validators do find what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from siltstone.errors import NotFound

from scripts.validate_asl import DEFINITIONS, VALIDATORS, Problem, install, validate

REAL = sorted(DEFINITIONS.glob("*.asl.json"))
BOTH = {"asl-validator", "amazon-states-language-service"}


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if not (VALIDATORS / "node_modules").is_dir():
        install()


def planted(folder: Path, change: Any) -> list[Problem]:
    definition = json.loads((DEFINITIONS / "compaction.asl.json").read_text())
    change(definition["States"])
    path = folder / "planted.asl.json"
    path.write_text(json.dumps(definition, indent=1))
    return validate(path)


def by(problems: list[Problem], words: str) -> set[str]:
    return {problem.validator for problem in problems if words in problem.message}


def test_both_machines_exist_and_have_no_problem() -> None:
    assert [path.name for path in REAL] == ["compaction.asl.json", "embedding.asl.json"]
    assert validate(*REAL) == []


def test_both_find_a_next_to_nowhere(tmp_path: Path) -> None:
    problems = planted(tmp_path, lambda states: states["ListCollections"].update(Next="Nowhere"))
    assert by(problems, "Nowhere") == {"asl-validator"}
    assert by(problems, "must be the name of an existing state") == {"amazon-states-language-service"}


def test_both_find_a_next_to_nowhere_inside_the_map(tmp_path: Path) -> None:
    def change(states: dict[str, Any]) -> None:
        states["CompactCollections"]["ItemProcessor"]["States"]["Upload"]["Next"] = "Nowhere"

    assert {problem.validator for problem in planted(tmp_path, change)} == BOTH


def test_both_find_a_state_that_nothing_reaches(tmp_path: Path) -> None:
    problems = planted(tmp_path, lambda states: states.update(Lonely={"Type": "Succeed"}))
    assert by(problems, "not reachable") == {"asl-validator"}
    assert by(problems, "cannot be reached") == {"amazon-states-language-service"}


def test_a_catch_to_nowhere_is_found(tmp_path: Path) -> None:
    def change(states: dict[str, Any]) -> None:
        states["CompactCollections"]["ItemProcessor"]["States"]["Merge"]["Catch"][0]["Next"] = "Nowhere"

    assert {problem.validator for problem in planted(tmp_path, change)} == BOTH


def test_both_find_a_misspelt_field(tmp_path: Path) -> None:
    assert {p.validator for p in planted(tmp_path, lambda states: states["AnyFailed?"].update(Defualt="Done"))} == BOTH


def test_broken_json_is_a_problem_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.asl.json"
    path.write_text('{"StartAt": ')
    [problem] = validate(path)
    assert problem.validator == "json"
    assert problem.file == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"absent\.asl\.json"):
        validate(tmp_path / "absent.asl.json")
