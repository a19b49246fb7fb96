"""The process behind each state of the embedding machine, and ``embed_now``, is killed before and after each change.

What an execution leaves open is taken up by a plan once it has given no sign of life for two hours: that time passes
here, and nothing else helps.
"""

from __future__ import annotations

import pytest

from tests.faults.crashes.batches import Texts
from tests.faults.crashes.effects import EMBED_NOW, EMBEDDING, boundaries
from tests.faults.crashes.house import FunctionFailed, House
from tests.faults.crashes.switchboard import Boundary

pytestmark = pytest.mark.faults

REPRESENTATIVE = {
    Boundary("plan_batches", "put source", 4, "after"),
    Boundary("submit_batch", "POST /batches", 1, "after"),
    Boundary("create_delta", "put delta", 1, "after"),
    Boundary("record_outcome", "put source", 2, "after"),
}
_COMPACT_EVERY = 8


@pytest.fixture(scope="module")
def texts(standing: House) -> Texts:
    """The texts of all waves."""
    standing.switch.clear()
    made = Texts(standing, "crash-texts")
    made.wave()
    standing.run("embedding", {})
    made.check_converged()
    return made


@pytest.mark.parametrize(
    "boundary",
    [
        pytest.param(one, id=str(one), marks=[pytest.mark.e2e] if one in REPRESENTATIVE else [])
        for one in boundaries(EMBEDDING)
    ],
)
def test_what_a_killed_embedding_left_is_finished_by_a_plan_hours_later_and_paid_once(
    house: House, texts: Texts, boundary: Boundary
) -> None:
    texts.wave()
    house.switch.kill(boundary)
    runs = house.run("embedding", {})
    assert house.switch.obeyed() == [boundary.state]
    assert [run.error for run in runs if run.status == "FAILED"] == ["Runtime.ExitError"]
    house.switch.clear()
    house.let_time_pass()
    runs = house.run("embedding", {})
    assert {run.status for run in runs} == {"SUCCEEDED"}, runs
    texts.check_converged()
    if texts.waves % _COMPACT_EVERY == 0:
        house.compact(texts.collection)
        texts.check_converged()


@pytest.mark.parametrize("boundary", [pytest.param(one, id=str(one)) for one in boundaries(EMBED_NOW)])
def test_what_embedding_at_once_left_is_finished_by_a_plan_hours_later(
    house: House, texts: Texts, boundary: Boundary
) -> None:
    request = texts.small_wave().model_dump()
    house.switch.kill(boundary)
    with pytest.raises(FunctionFailed) as failed:
        house.invoke("embed_now", request)
    assert failed.value.name == "Runtime.ExitError"
    assert house.switch.obeyed() == [boundary.state]
    house.switch.clear()
    house.invoke("embed_now", request)  # as its caller does
    house.let_time_pass()
    runs = house.run("embedding", {})
    assert {run.status for run in runs} == {"SUCCEEDED"}, runs
    texts.check_converged()
