"""What starts compactions, and what keeps them from starting."""

from __future__ import annotations

from collections.abc import Iterable

from siltstone.compaction.pauses import read_pauses
from siltstone.overview.doctor.check import Check, Patient, verdict


def machines(patient: Patient) -> Iterable[Check]:
    for name, machine in patient.machines.items():
        status = machine.status()
        yield verdict("ok" if status == "ACTIVE" else "problem", f"{name}: {status}", "Deploy the stage again.")


def triggers(patient: Patient) -> Iterable[Check]:
    state = patient.account.schedule(f"{patient.stack}-compact")
    yield verdict(
        "ok" if state == "ENABLED" else "problem",
        f"{patient.stack}-compact: {state}",
        "Enable it: nothing is compacted by the hour. To stop compaction for a while, `siltstone compact pause`.",
    )
    state = patient.account.event_source(patient.output("StartCompactionFunction"))
    good = state in {"Enabled", "Creating", "Enabling", "Updating"}
    yield verdict(
        "ok" if good else "warning", f"hints start compactions: {state}", "Enable the queue's event source mapping."
    )


def pauses(patient: Patient) -> Iterable[Check]:
    found = read_pauses(patient.stores.snapshots, patient.clock)
    for pause in found:
        yield verdict("warning", str(pause), f"siltstone compact resume {pause.collection or ''}".strip())
    if not found:
        yield verdict("ok", "no collection is paused")
