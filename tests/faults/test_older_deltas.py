"""Thousands of JSON deltas, and tens of Chroma directories, each of which is read by a process of its own: minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from siltstone.snapshots.chroma import open_chroma
from siltstone.verify.contents import open_plain

from tests.faults.older_deltas import Backlog, merge_many

pytestmark = pytest.mark.faults


def test_tens_of_directories_are_merged_in_order_and_the_wrong_ones_set_aside(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, max_rows=40, page_size=11)
    backlog.house.open_store, backlog.house.open_plain = open_chroma, open_plain
    for number in range(40):
        ids = [f"r{number % 9}", f"s{number % 13}", f"only-{number}"]
        match number % 10:
            case 3:
                backlog.chroma(ids, number, dimension=5)
            case 7:
                backlog.chroma(ids, number, broken=b"not a database")
            case _:
                backlog.chroma(ids, number)
        backlog.house.clock.advance(20 * 60)
        backlog.json([f"r{number % 9}"], number + 1_000)
    made = backlog.drain()
    assert len(made) >= 3
    found = backlog.content()
    assert {row: each[1:] for row, each in found.items()} == {row: each[1:] for row, each in backlog.wanted.items()}
    for row, each in found.items():
        assert each[0] == pytest.approx(backlog.wanted[row][0], rel=1e-5)  # Chroma rounds the last bits under cosine
    reasons = backlog.reasons()
    assert reasons.keys() == backlog.bad.keys()
    assert all(reason in reasons[name] for name, reason in backlog.bad.items())
    assert backlog.pending() == []
    assert backlog.house.codes(deep=True) == []


def test_thousands_of_json_deltas_are_merged_in_order(tmp_path: Path) -> None:
    merge_many(Backlog(tmp_path, max_rows=1_500, page_size=1_000), 5_000)
