"""The compaction machine where nothing fails: which states run, in which order, on what."""

from __future__ import annotations

import json

import pytest

from tests.statemachines.compacting import IDLE, RUN, due
from tests.statemachines.stage import Stage, answers, raises

MACHINE = "compaction"
pytestmark = pytest.mark.xdist_group("compaction-runs")


@pytest.mark.parametrize("event", [{"operation": "compact"}, {}, {"collections": ["lines"], "force": True}])
def test_nothing_due_is_one_call_and_no_run(stage: Stage, event: dict) -> None:
    execution = stage.run(event)
    assert (execution.status, execution.output) == ("SUCCEEDED", {"collections": []})
    assert [(call.state, call.payload) for call in stage.calls()] == [("ListCollections", event)]


def test_a_collection_passes_all_states_once_in_this_order(stage: Stage) -> None:
    stage.script({"ListCollections": [due("lines")]})
    execution = stage.run({}, name="order")
    assert stage.order() == ["ListCollections", *RUN]
    assert execution.output == {
        "collections": [
            {"collection": "lines", "status": "compacted", "version": "20260131_235959_00000001", "more": False}
            | {"cause": None}
        ]
    }
