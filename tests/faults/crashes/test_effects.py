"""What each state changes, and in which order: the list that the crashes are made from."""

from __future__ import annotations

import pytest

from tests.faults.crashes.batches import Texts
from tests.faults.crashes.checks import check_converged
from tests.faults.crashes.effects import COMPACTION, EMBED_NOW, EMBEDDING, Effects
from tests.faults.crashes.house import House
from tests.faults.crashes.waves import Truth

pytestmark = [pytest.mark.faults, pytest.mark.e2e]


def test_a_compaction_changes_exactly_what_is_listed(house: House, truth: Truth) -> None:
    for _ in range(2):
        truth.wave()
        house.switch.clear()
        house.switch.short("merge", 20.0)
        assert [run.status for run in house.compact(truth.collection)] == ["SUCCEEDED"]
        check_converged(house, truth)
    assert house.switch.effects() == _that_change_something(COMPACTION)


def test_an_embedding_changes_exactly_what_is_listed(house: House) -> None:
    texts = Texts(house, "crash-texts-dry")
    for _ in range(2):
        texts.wave()
        house.switch.clear()
        assert [run.status for run in house.run("embedding", {})] == ["SUCCEEDED"] * 2
        texts.check_converged()
    found = house.switch.effects()
    found.pop("start_compaction", None)  # hints have their own time
    assert set(found["poll_batch"]) == set(EMBEDDING["poll_batch"])  # as often as the provider lets it wait
    assert found | {"poll_batch": EMBEDDING["poll_batch"]} == EMBEDDING


def test_embedding_at_once_changes_exactly_what_is_listed(house: House) -> None:
    texts = Texts(house, "crash-now-dry")
    house.invoke("embed_now", texts.small_wave().model_dump())
    assert {"embed_now": house.switch.effects()["embed_now"]} == EMBED_NOW
    texts.check_converged()


def _that_change_something(effects: Effects) -> Effects:
    return {state: list(wanted) for state, wanted in effects.items() if wanted}
