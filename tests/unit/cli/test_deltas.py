"""``siltstone deltas`` and ``siltstone get`` over a collection in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from siltstone import keys

from tests.unit.cli.conftest import Lambda
from tests.unit.scrub.house import COLLECTION, House

Run = Callable[..., Any]
VECTOR = [1.0, 0.0, 0.0, 0.0]


@pytest.fixture
def bad(house: House) -> str:
    """A delta that is no Parquet, in quarantine; its id."""
    house.deltas.put(keys.delta(COLLECTION, "broken"), b"no parquet")
    house.clock.advance(60)
    house.compact()
    return "broken"


def ids_of(answer: Any, what: str) -> list[str]:
    return [each["delta_id"] for each in json.loads(answer.stdout)[what]]


# list, show ---------------------------------------------------------------------------------------
def test_what_waits_is_listed_in_its_order_with_what_becomes_of_it(run: Run, house: House) -> None:
    patient = house.stores.settings.model_copy(update={"settle_seconds": 60})
    object.__setattr__(house.stores, "settings", patient)
    house.clock.advance(90)
    second = house.write("e").split("/")[-2]
    done = run("deltas", "list", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)["deltas"]
    assert [each["state"] for each in found] == ["waits", "settling"]
    assert found[1]["delta_id"] == second
    assert second in run("deltas", "list", COLLECTION).stdout


def test_a_delta_that_a_producer_put_back_is_told_from_one_that_waits(run: Run, house: House) -> None:
    (old,) = list(house.deltas.list(keys.deltas(COLLECTION)))
    body = house.deltas.get(old.key).body
    house.clock.advance(60)
    house.compact()
    house.deltas.put(old.key, body)
    house.clock.advance(60)
    (found,) = json.loads(run("deltas", "list", "--json").stdout)["deltas"]
    assert found["state"] in {"merged", "returned"}


def test_nothing_waits(run: Run, house: House) -> None:
    house.clock.advance(60)
    house.compact()
    assert "Nothing waits" in run("deltas", "list").stdout


def test_a_delta_is_shown_with_its_first_operations(run: Run, house: House) -> None:
    (delta,) = list(house.deltas.list(keys.deltas(COLLECTION)))
    delta_id = delta.key.split("/")[-2]
    found = json.loads(run("deltas", "show", COLLECTION, delta_id, "--json").stdout)
    assert (found["upserts"], found["deletes"], found["header"]["delta_id"]) == (1, 0, delta_id)
    assert [(each["op"], each["id"]) for each in found["operations"]] == [("upsert", "d")]
    assert "1 upserts, 0 deletes" in run("deltas", "show", COLLECTION, delta_id).stdout


def test_a_quarantined_delta_is_shown_with_its_reason_and_not_opened(run: Run, bad: str) -> None:
    found = json.loads(run("deltas", "show", COLLECTION, bad, "--json").stdout)
    assert found["operations"] == []
    assert found["reason"]


def test_an_unknown_delta_is_a_sentence(run: Run) -> None:
    done = run("deltas", "show", COLLECTION, "nobody")
    assert done.exit_code == 2
    assert "no delta 'nobody'" in done.stderr
    assert "Traceback" not in done.stderr


# produce ------------------------------------------------------------------------------------------
def test_vectors_from_a_file_become_a_delta(run: Run, house: House, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"id": "new", "embedding": VECTOR, "document": "tea"}) + "\n")
    done = run("deltas", "produce", COLLECTION, str(path), "--json")
    assert done.exit_code == 0
    (written,) = json.loads(done.stdout)["deltas"]
    assert written["embedding_count"] == 1
    assert house.deltas.head(written["delta_keys"][0]) is not None


def test_a_bad_line_is_named_and_nothing_is_written(run: Run, house: House, tmp_path: Path) -> None:
    before = list(house.deltas.list(keys.DELTAS))
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "new", "embedding": [1]}\n')
    done = run("deltas", "produce", COLLECTION, str(path))
    assert done.exit_code == 2
    assert "line 1" in done.stderr
    assert list(house.deltas.list(keys.DELTAS)) == before


# quarantine, replay -------------------------------------------------------------------------------
def test_the_quarantine_is_listed_with_reasons_and_is_a_finding(run: Run, bad: str) -> None:
    done = run("deltas", "quarantine", "--json")
    assert done.exit_code == 1
    assert ids_of(done, "quarantined") == [bad]
    shown = run("deltas", "quarantine", COLLECTION)
    assert shown.exit_code == 1
    assert bad in shown.stdout


def test_an_empty_quarantine_is_no_finding(run: Run) -> None:
    done = run("deltas", "quarantine")
    assert (done.exit_code, done.stdout) == (0, "Nothing is in quarantine.\n")


def test_a_replay_that_is_mended_leaves_the_quarantine_and_one_that_is_not_stays(
    run: Run, house: House, bad: str
) -> None:
    good = house.write("late")
    prefix = keys.quarantine(COLLECTION, bad)
    mended = house.deltas.get(good).body
    refused = run("deltas", "replay", COLLECTION, "--all", "--yes")
    assert refused.exit_code == 1
    assert bad in refused.stderr
    house.deltas.put(prefix + keys.DELTA_FILE, mended)  # an operator's hand
    done = run("deltas", "replay", COLLECTION, bad, "--yes", "--json")
    assert done.exit_code == 0
    assert ids_of(done, "replayed") == [bad]
    assert run("deltas", "quarantine").exit_code == 0


def test_a_replay_asks_and_a_no_changes_nothing(run: Run, house: House, bad: str) -> None:
    before = [found.key for found in house.deltas.list("")]
    done = run("deltas", "replay", COLLECTION, bad, input="n\n")
    assert done.exit_code == 1
    assert "new writes" in done.stdout
    assert [found.key for found in house.deltas.list("")] == before


@pytest.mark.parametrize(
    "arguments",
    [("replay", COLLECTION), ("replay", COLLECTION, "x", "--all"), ("replay", COLLECTION, "--all", "--json")],
    ids=["none", "both", "json without yes"],
)
def test_a_replay_that_is_not_clear_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("deltas", *arguments).exit_code == 2


def test_a_replay_of_what_is_not_there_names_it(run: Run) -> None:
    done = run("deltas", "replay", COLLECTION, "nobody", "--yes")
    assert done.exit_code == 2
    assert "'nobody'" in done.stderr


# get ----------------------------------------------------------------------------------------------
ANSWER = {
    "version": "20260131_235959_00000042",
    "version_age_seconds": 7_300.0,
    "pending_deltas": None,
    "stale": None,
    "results": {"ids": ["a", "b"], "documents": ["tea [b]", None], "metadatas": [{"n": 1}, None]},
}


def test_get_asks_for_ids_and_says_which_are_missing(run: Run, functions: Lambda) -> None:
    functions.answer = ANSWER
    done = run("get", "lines", "a", "b", "c", "--strong", "--where-document", '{"$contains": "tea"}')
    assert done.exit_code == 0
    assert "tea [b]" in done.stdout
    assert "c" in done.stderr
    ((_, asked),) = functions.asked
    assert (asked["operation"], asked["ids"], asked["consistency"]) == ("get", ["a", "b", "c"], "strong")
    assert asked["where_document"] == {"$contains": "tea"}


def test_get_pages_and_says_where_the_next_page_begins(run: Run, functions: Lambda) -> None:
    functions.answer = ANSWER
    done = run("get", "lines", "-n", "2", "--after", "Z")
    assert '--after "b"' in done.stdout
    assert functions.asked[0][1]["after"] == "Z"


def test_an_unknown_record_is_a_sentence(run: Run, functions: Lambda) -> None:
    functions.answer = {**ANSWER, "results": {"ids": [], "documents": [], "metadatas": []}}
    done = run("get", "lines", "nobody")
    assert done.exit_code == 2
    assert "nobody" in done.stderr
    assert "--strong" in done.stderr


def test_ids_and_a_page_are_two_questions(run: Run) -> None:
    assert run("get", "lines", "a", "--after", "b").exit_code == 2
