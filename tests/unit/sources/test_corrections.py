"""A corrected source: what is paid for again, what is deleted, and what a reader finds in the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from siltstone.sources.receipt import Receipt

from tests.unit.embedding.house import receipt, text, without_last_line
from tests.unit.sources.stage import Stage

LINES = ["GREEN GROCER", "apples 1.20", "pears 2.40 EUR", "plums 3.10", "TOTAL 6.70"]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def line(source: Receipt, number: int) -> str:
    return f"IMAGE#{source.image_id}#RECEIPT#00001#LINE#{number:05d}"


def word(source: Receipt, number: int, place: int) -> str:
    return f"{line(source, number)}#WORD#{place:05d}"


def paid(stage: Stage) -> list[str]:
    """Custom ids of every row that was ever sent to the provider, in the order of the batches."""
    files = [stage.provider.files[batch.input_file_id] for batch in stage.provider.batches.values()]
    return [json.loads(row)["custom_id"] for file in files for row in file.splitlines()]


def embed(stage: Stage, name: str) -> list[str]:
    """Plan and walk every batch; the ids that were paid for."""
    before = len(paid(stage))
    stage.run(name)
    return sorted(paid(stage)[before:])


def with_line(number: int, content: str, lines: Sequence[str] = LINES) -> Receipt:
    return receipt(1, [content if place == number else other for place, other in enumerate(lines)])


def compacted(stage: Stage) -> dict[str, list[str]]:
    return {name: stage.rows(name) for name in ("lines", "words") if stage.compact(name)}


def test_of_a_changed_word_only_what_has_it_in_its_input_is_paid_for_again(stage: Stage) -> None:
    source = receipt(1, LINES)
    stage.load(source)
    first = embed(stage, "p")
    assert len(first) == len(source.lines) + len(source.words) == 5 + 11
    mended = with_line(2, "pears 2.90 EUR")
    stage.load(mended)
    assert embed(stage, "q") == sorted(
        [
            *(line(source, number) for number in (1, 2, 3)),  # itself, and the two that have it as their context
            *(word(source, 2, place) for place in (1, 2, 3)),  # itself, and its neighbours on the line
        ]
    )
    documents = stage.documents("words")
    assert documents[word(source, 2, 2)] == "2.90"
    assert stage.documents("lines")[line(source, 2)] == "pears 2.90 EUR"
    assert [state.status for state in map(stage.state, [source.source_id] * 2, ("lines", "words"))] == ["SUCCESS"] * 2
    assert compacted(stage) == {
        "lines": sorted(line(source, number) for number in range(5)),
        "words": sorted(word(source, each.line_id, each.word_id) for each in source.words),
    }


def test_a_word_two_words_away_is_left_alone(stage: Stage) -> None:
    lines = ["one two three four five six"]
    source = receipt(1, lines)
    stage.load(source)
    embed(stage, "p")
    stage.load(with_line(0, "one two three four five SIX", lines))
    assert embed(stage, "q") == [line(source, 0), word(source, 0, 5), word(source, 0, 6)]


def test_the_same_content_again_costs_nothing(stage: Stage) -> None:
    stage.load(receipt(1, LINES), text("a"))
    embed(stage, "p")
    stage.load(receipt(1, LINES), text("a"))
    assert embed(stage, "q") == []


def test_a_line_that_vanished_is_deleted_at_once_and_its_neighbour_paid_for_again(stage: Stage) -> None:
    source = receipt(1, LINES)
    stage.load(source)
    embed(stage, "p")
    stage.load(without_last_line(source))
    assert sorted(stage.documents("lines")) == [line(source, number) for number in range(4)]  # before any plan
    assert not any("LINE#00004" in key for key in stage.documents("words"))
    assert embed(stage, "q") == [line(source, 3)]
    found = compacted(stage)
    assert found["lines"] == [line(source, number) for number in range(4)]
    assert found["words"] == sorted(word(source, each.line_id, each.word_id) for each in source.words[:-2])


def test_metadata_alone_is_a_change_and_reaches_the_filters(stage: Stage) -> None:
    """A delta's upsert carries its vector, so it is paid for again; the merge then changes metadata alone."""
    stage.load(receipt(1, ["one line"], merchant="Kiosk"), text("a", "same", shelf=1), text("b", "same", shelf=1))
    embed(stage, "p")
    stage.compact("texts")
    stage.load(receipt(1, ["one line"], merchant="Bakery"), text("a", "same", shelf=2), text("b", "same", shelf=1))
    assert embed(stage, "q") == sorted(["a", *stage.documents("lines"), *stage.documents("words")])
    assert stage.store("texts")["a"]["metadata"]["shelf"] == 2
    assert {row["metadata"]["merchant_name"] for row in stage.store("lines").values()} == {"Bakery"}
    version = stage.compact("texts")
    assert version is not None
    manifest = json.loads(stage.stores.snapshots.get(f"snapshots/texts/{version}/manifest.json").body)
    counts = manifest["counts"]
    assert (counts["inserted"], counts["updated"], counts["metadata_only"]) == (0, 0, 1)


@pytest.mark.parametrize("reached", ["planned", "submitted", "answered"])
def test_a_correction_while_the_first_batch_is_open(stage: Stage, reached: str) -> None:
    """What the open batch brings belongs to another revision: it is left out, and all of it is paid for once more."""
    source = receipt(1, LINES)
    stage.load(source)
    planned = stage.plan("p").batches
    if reached != "planned":
        for one in planned:
            stage.submit(one.batch_id)
    if reached == "answered":
        stage.provider.advance(3)
    mended = with_line(2, "pears 2.90 EUR")
    stage.load(mended)
    outcomes = [stage.walk(one.batch_id).counts for one in planned]
    assert [(found.outdated, found.embedded) for found in outcomes] == [(found.submitted, 0) for found in outcomes]
    assert len(embed(stage, "q")) == 5 + 11
    assert stage.documents("lines")[line(source, 2)] == "pears 2.90 EUR"
    assert compacted(stage)["lines"] == [line(source, number) for number in range(5)]


def test_a_second_correction_while_the_batch_of_the_first_is_open_pays_for_both_and_nothing_else(stage: Stage) -> None:
    source = receipt(1, LINES)
    stage.load(source)
    embed(stage, "p")
    stage.load(with_line(0, "GREEN GROCERY"))
    open_batches = stage.plan("q").batches
    mended = [*LINES]
    mended[0], mended[4] = "GREEN GROCERY", "TOTAL 6.90"
    stage.load(receipt(1, mended))
    for one in open_batches:
        counts = stage.walk(one.batch_id).counts
        assert counts.outdated == counts.submitted
    again = embed(stage, "r")
    assert [key for key in again if "WORD" not in key] == [line(source, number) for number in (0, 1, 3, 4)]
    assert {int(key.split("#")[5]) for key in again if "WORD" in key} == {0, 4}
    assert [stage.documents("lines")[line(source, number)] for number in range(5)] == mended


def test_a_line_that_vanished_while_its_batch_was_open_never_arrives(stage: Stage) -> None:
    source = receipt(1, LINES)
    stage.load(source)
    planned = stage.plan("p").batches
    for one in planned:
        stage.submit(one.batch_id)
    stage.provider.advance(3)
    for one in planned:
        stage.create(one.batch_id)  # its delta is durable, its outcome not recorded
    stage.load(without_last_line(source))
    for one in planned:
        stage.record(one.batch_id)
    embed(stage, "q")
    found = compacted(stage)
    assert found["lines"] == [line(source, number) for number in range(4)]
    assert not any("LINE#00004" in key for key in found["words"])


def test_a_corrected_text_is_replaced_and_the_others_are_left(stage: Stage) -> None:
    stage.load(text("a", "teh cat"), text("b", "the dog"))
    embed(stage, "p")
    stage.load(text("a", "the cat"), text("b", "the dog"))
    assert embed(stage, "q") == ["a"]
    stage.compact("texts")
    assert stage.rows("texts") == ["a", "b"]
