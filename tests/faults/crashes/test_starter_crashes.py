"""The starter is killed before and after it starts an execution: the queue gives its hints out again."""

from __future__ import annotations

import time

import pytest
from siltstone import keys

from tests.faults.crashes.checks import check_converged
from tests.faults.crashes.effects import STARTER, boundaries
from tests.faults.crashes.house import House
from tests.faults.crashes.switchboard import Boundary
from tests.faults.crashes.waves import Truth

pytestmark = pytest.mark.faults

_PATIENCE = 60.0  # seconds; a message that was not deleted is hidden for 19


@pytest.mark.parametrize("boundary", [pytest.param(one, id=str(one)) for one in boundaries(STARTER)])
def test_a_hint_whose_starter_was_killed_starts_a_compaction_all_the_same(house: House, boundary: Boundary) -> None:
    truth = Truth(f"crash-hinted-{boundary.when}", house.stores)
    truth.wave()
    house.switch.kill(boundary)
    house.stores.hints.tell(collection=truth.collection, delta_key=truth.deltas[0], embedding_count=1)
    house.switch.wait_for("kill", "start_compaction")
    deadline = time.monotonic() + _PATIENCE
    while list(house.stores.deltas.list(keys.deltas(truth.collection))):
        assert time.monotonic() < deadline, "nothing was started"
        time.sleep(0.2)
    # The message came back as well, not only the execution that was started by a starter that then died.
    while len(house.switch.effects().get("start_compaction", [])) < 2:
        assert time.monotonic() < deadline, "the hint did not come back"
        time.sleep(0.2)
    truth.wait_until_free()
    check_converged(house, truth)
