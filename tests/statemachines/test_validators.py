"""Both state machines pass two independent validators, and the validators do find what is wrong in either."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from siltstone.errors import NotFound

from scripts.validate_asl import DEFINITIONS, Problem, validate
from tests.statemachines.definitions import MACHINES

pytestmark = [pytest.mark.xdist_group("validators"), pytest.mark.usefixtures("validators")]

ASL_VALIDATOR, LANGUAGE_SERVICE = "asl-validator", "amazon-states-language-service"
BOTH = {ASL_VALIDATOR, LANGUAGE_SERVICE}
FIRST = {"compaction": "ListCollections", "embedding": "PlanBatches"}
CATCHING = {"compaction": "Merge", "embedding": "SubmitBatch"}
INSIDE = {"compaction": ("CompactCollections", "Upload"), "embedding": ("StartBatches", "StartBatch")}

States = dict[str, Any]


def inner(machine: str, states: States) -> States:
    return states[INSIDE[machine][0]]["ItemProcessor"]["States"]


def lead_nowhere(machine: str, states: States) -> None:
    states[FIRST[machine]]["Next"] = "Nowhere"


def lead_nowhere_inside_the_map(machine: str, states: States) -> None:
    state = inner(machine, states)[INSIDE[machine][1]]
    state.pop("End", None)
    state["Next"] = "Nowhere"


def catch_to_nowhere(machine: str, states: States) -> None:
    found = states.get(CATCHING[machine]) or inner(machine, states)[CATCHING[machine]]
    found["Catch"][0]["Next"] = "Nowhere"


def add_a_state_that_nothing_reaches(_machine: str, states: States) -> None:
    states["Lonely"] = {"Type": "Succeed"}


def misspell_a_field(machine: str, states: States) -> None:
    states[FIRST[machine]]["Nxt"] = "Done"


def write_jsonpath(machine: str, states: States) -> None:
    states[FIRST[machine]]["ResultPath"] = "$.result"


PLANTED: dict[Callable[[str, States], None], set[str]] = {  # and who finds it
    lead_nowhere: BOTH,
    lead_nowhere_inside_the_map: BOTH,
    catch_to_nowhere: BOTH,
    add_a_state_that_nothing_reaches: BOTH,
    misspell_a_field: BOTH,
    write_jsonpath: {ASL_VALIDATOR},
}


@pytest.fixture(scope="module")
def problems(validators: None, tmp_path_factory: pytest.TempPathFactory) -> list[Problem]:
    """What both find in every planted file, asked once: a Node takes a second to start."""
    folder = tmp_path_factory.mktemp("planted")
    for machine in MACHINES:
        for plant in PLANTED:
            definition = json.loads(MACHINES[machine].read_text())
            plant(machine, definition["States"])
            (folder / f"{machine}-{plant.__name__}.asl.json").write_text(json.dumps(definition, indent=1))
    return validate(*sorted(folder.iterdir()))


def test_both_machines_exist_and_have_no_problem() -> None:
    assert sorted(path.name for path in DEFINITIONS.iterdir()) == ["compaction.asl.json", "embedding.asl.json"]
    assert validate(*MACHINES.values()) == []


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_was_planted_is_found(problems: list[Problem], machine: str, plant: Callable[[str, States], None]) -> None:
    found = [each for each in problems if Path(each.file).name == f"{machine}-{plant.__name__}.asl.json"]
    assert {each.validator for each in found} == PLANTED[plant], found


@pytest.mark.parametrize("machine", MACHINES)
def test_they_say_what_is_wrong_and_where(problems: list[Problem], machine: str) -> None:
    found = [each for each in problems if each.file.endswith(f"{machine}-lead_nowhere.asl.json")]
    assert any("Nowhere" in each.message for each in found if each.validator == ASL_VALIDATOR)
    [named] = [each for each in found if "must be the name of an existing state" in each.message]
    lines = Path(named.file).read_text().splitlines()
    assert named.line is not None
    assert "Nowhere" in lines[named.line - 1]


def test_broken_json_is_a_problem_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.asl.json"
    path.write_text('{"StartAt": ')
    [problem] = validate(path)
    assert problem.validator == "json"
    assert problem.file == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"absent\.asl\.json"):
        validate(tmp_path / "absent.asl.json")
