"""Taking in: what is loaded, what is left out, and what is ahead, before anything is paid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from siltstone.records.tokens import estimate_tokens
from siltstone.settings import CollectionSettings
from siltstone.sources import intake as module
from siltstone.sources.intake import Intake, take_in
from siltstone.sources.loading import delete_sources
from siltstone.sources.problem import SourceProblem
from siltstone.sources.source import Source

from tests.unit.embedding.house import DIMENSION, receipt, text, without_last_line
from tests.unit.sources.stage import Stage, receipts_and_texts

BAD = SourceProblem(path="f", line=3, what="is bad", remedy="Mend it.")
AGAIN = SourceProblem(path="f", line=4, what="is there already", remedy="Remove it.", duplicate=True)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "stage")


def take(stage: Stage, *items: Source | SourceProblem, dry_run: bool = False) -> Intake:
    return take_in(items, stage.stores, stage.clock, dry_run=dry_run)


def counts(intake: Intake) -> tuple[int, int, int, int, int]:
    report = intake.report
    return report.new, report.changed, report.unchanged, intake.rejected, intake.repeated


def ahead(intake: Intake) -> dict[str, tuple[int, int]]:
    return {name: (work.records, work.deletes) for name, work in intake.report.work.items()}


def test_what_can_be_used_is_loaded_and_what_cant_is_told_at_once(stage: Stage) -> None:
    told: list[SourceProblem] = []
    found = take_in([text("a"), BAD, AGAIN, text("b")], stage.stores, stage.clock, reject=told.append)
    assert counts(found) == (2, 0, 0, 1, 1)
    assert (found.read, found.problems, told) == (2, [BAD, AGAIN], [BAD, AGAIN])


def test_problems_are_counted_without_end_and_kept_up_to_a_number(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    found = take(stage, *[BAD] * 10)
    assert (found.rejected, len(found.problems)) == (10, 3)


def test_an_estimate_counts_the_inputs_that_are_really_sent(stage: Stage) -> None:
    found = take(stage, receipt(1, ["one two", "three"]), text("a", "hello world"))
    lines, texts, words = found.estimates(stage.stores.settings)
    assert [(each.collection, each.records) for each in (lines, texts, words)] == [
        ("lines", 2),
        ("texts", 1),
        ("words", 3),
    ]
    assert texts.tokens == estimate_tokens("hello world") == 6
    assert lines.tokens == sum(
        estimate_tokens(f"<TARGET>{text}</TARGET> <POS>{place}</POS> <CONTEXT>{near}</CONTEXT>")
        for text, place, near in (("one two", "top", "<EDGE> three"), ("three", "bottom", "one two <EDGE>"))
    )
    assert texts.batch_usd == pytest.approx(6 * 0.02 / 1e6 / 2)
    assert texts.now_usd == pytest.approx(6 * 0.02 / 1e6)


def test_a_model_without_a_price_costs_an_unknown_amount(tmp_path: Path) -> None:
    stage = Stage(tmp_path, receipts_and_texts(texts=CollectionSettings(dimension=DIMENSION, model="local")))
    [estimate] = take(stage, text("a")).estimates(stage.stores.settings)
    assert (estimate.model, estimate.batch_usd, estimate.now_usd) == ("local", None, None)


def test_the_same_again_changes_nothing_and_what_is_ahead_shrinks_as_it_is_done(stage: Stage) -> None:
    sources = [receipt(1, ["one two"]), text("a")]
    assert ahead(take(stage, *sources)) == {"lines": (1, 0), "words": (2, 0), "texts": (1, 0)}
    before = list(stage.stores.sources.list())
    again = take(stage, *sources)
    assert counts(again) == (0, 0, 2, 0, 0)
    assert ahead(again) == {"lines": (1, 0), "words": (2, 0), "texts": (1, 0)}
    assert list(stage.stores.sources.list()) == before
    stage.plan("p")
    assert all(work == (0, 0) for work in ahead(take(stage, *sources)).values())  # the batches have them
    stage.run("p")
    assert ahead(take(stage, *sources)) == {}


def test_a_correction_is_priced_by_what_it_changes_and_says_what_it_deletes(stage: Stage) -> None:
    original = receipt(1, ["one two", "three", "four", "five"])
    take(stage, original)
    stage.run("p")
    found = take(stage, without_last_line(original))
    assert counts(found) == (0, 1, 0, 0, 0)
    assert ahead(found) == {"lines": (1, 1), "words": (0, 1)}  # 'four' has another neighbour now


def test_a_dry_run_says_the_same_and_writes_nothing(stage: Stage) -> None:
    original = receipt(1, ["one two", "three", "four", "five"])
    take(stage, original, text("a"), text("gone"))
    stage.run("p")
    delete_sources([text("gone").source_id], stage.stores, stage.clock)
    items = {item.source_id: item for item in stage.stores.sources.list()}
    objects = [info.key for info in stage.stores.deltas.list("")]
    todo = [without_last_line(original), text("a"), text("b"), text("gone"), BAD]
    dry = take(stage, *todo, dry_run=True)
    assert {item.source_id: item for item in stage.stores.sources.list()} == items
    assert [info.key for info in stage.stores.deltas.list("")] == objects
    wet = take(stage, *todo)
    assert counts(dry) == counts(wet) == (1, 2, 1, 1, 0)
    assert dry.estimates(stage.stores.settings) == wet.estimates(stage.stores.settings)
    assert (dry.report.delta_keys, len(wet.report.delta_keys)) == ([], 2)


def test_an_interruption_keeps_what_was_loaded_and_the_same_call_goes_on(stage: Stage) -> None:
    sources = [text(f"n{number}") for number in range(250)]

    def interrupted() -> Iterator[Source]:
        yield from sources[:230]
        raise KeyboardInterrupt

    found = Intake()
    with pytest.raises(KeyboardInterrupt):
        take_in(interrupted(), stage.stores, stage.clock, intake=found)
    assert counts(found) == (200, 0, 0, 0, 0)
    assert counts(take(stage, *sources)) == (50, 0, 200, 0, 0)
