"""What every handler promises: a named error for a bad event, log lines that can be found, metrics by exact names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

ENVIRONMENT = {
    "DELTA_BUCKET": "deltas",
    "SNAPSHOT_BUCKET": "snapshots",
    "LOCK_TABLE": "locks",
    "LEDGER_TABLE": "ledger",
    "SOURCE_TABLE": "sources",
    "DELTA_QUEUE_URL": "queue",
    "SILTSTONE_STAGE": "dev",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "POWERTOOLS_SERVICE_NAME": "siltstone",
    "POWERTOOLS_METRICS_NAMESPACE": "ChromaDB/Compaction",
}
RUN = {
    "collection": "lines",
    "execution": "hourly",
    "index": 3,
    "token": 7,
    "version": "20260131_235959_00000007",
    "acquired_at": 1.0,
}
BAD_EVENTS: list[tuple[Any, str]] = [
    ({"run": {**RUN, "token": "seven"}}, "run.token"),
    ({"run": {key: value for key, value in RUN.items() if key != "version"}}, "run.version"),
    ({"run": RUN, "colection": "lines"}, "colection"),
    ({}, "run"),
    ([], "the event"),
    (None, "the event"),
]


def call(*calls: tuple[str, Any]) -> list[list[dict[str, Any]]]:
    """What each call printed, its end last; one process, as a warm function is."""
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.functions.calls"],
        input=json.dumps(calls), env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers: list[list[dict[str, Any]]] = [[]]
    for line in map(json.loads, done.stdout.splitlines()):
        answers[-1].append(line)
        if "ended" in line:
            answers.append([])
    return answers[:-1]


def test_a_bad_event_is_an_error_that_names_the_field() -> None:
    answers = call(*(("download", event) for event, _ in BAD_EVENTS))
    for (_, field), printed in zip(BAD_EVENTS, answers, strict=True):
        assert printed[-1]["ended"]["raised"] == "BadEvent"
        assert f"field '{field}'" in printed[-1]["ended"]["message"]


def test_every_line_of_a_run_carries_its_names_and_none_of_the_run_before() -> None:
    first, second = call(
        ("download", {"run": RUN}), ("acquire", {"collection": "words", "execution": "down", "index": 0})
    )
    line = first[0]
    assert {name: line[name] for name in ("state", "collection", "run", "version", "token", "request_id")} == {
        "state": "Download",
        "collection": "lines",
        "run": "hourly-3",
        "version": "20260131_235959_00000007",
        "token": 7,
        "request_id": "request-1",
    }
    assert (second[0]["state"], second[0]["collection"]) == ("AcquireLock", "words")
    assert "token" not in second[0]


def test_an_error_leaves_under_its_own_name_and_contention_is_counted_with_exact_dimensions() -> None:
    busy, down = call(
        ("acquire", {"collection": "lines", "execution": "busy", "index": 0}),
        ("acquire", {"collection": "lines", "execution": "down", "index": 0}),
    )
    assert busy[-1]["ended"]["raised"] == "LockBusy"
    assert down[-1]["ended"]["raised"] == "StoreUnavailable"
    (metric,) = [line for line in busy if "_aws" in line]
    (described,) = metric["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == "ChromaDB/Compaction"
    assert [sorted(names) for names in described["Dimensions"]] == [["service", "stage"]]
    assert (metric["LockContentionCount"], metric["service"], metric["stage"]) == ([1.0], "siltstone", "dev")
    assert not [line for line in down if "_aws" in line]


@pytest.mark.parametrize("missing", ["LOCK_TABLE", "SILTSTONE_STAGE"])
def test_a_missing_variable_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ENVIRONMENT, missing)
    monkeypatch.delenv(missing, raising=False)
    (printed,) = call(("download", {"run": RUN}))
    assert printed[-1]["ended"]["raised"] == "BadSettings"
    assert missing in printed[-1]["ended"]["message"]
