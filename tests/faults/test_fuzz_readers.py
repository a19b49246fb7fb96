"""Hostile input to every reader of bytes that others wrote; ``python -m tests.faults.fuzz`` is the long part."""

from __future__ import annotations

import pytest

from tests.faults.fuzz.runner import fuzz
from tests.faults.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_a_named_verdict_in_bounded_memory_and_touches_nothing_outside(name: str) -> None:
    count = min(100, TARGETS[name].at_once)
    found = fuzz(name, 0, count)
    assert found.flaws == []
    assert found.inputs == count
    assert len(found.verdicts) > 1, "all inputs came to the same end: they try nothing"
