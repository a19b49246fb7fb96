"""The account and this machine: who asks, whose clock, which releases, how much may run."""

from __future__ import annotations

from collections.abc import Iterable

from siltstone import keys
from siltstone.compaction.documents import Manifest
from siltstone.overview.doctor.check import Check, Level, Patient, current_manifests, verdict

AT_ONCE = 13  # ten collections of one compaction, two starters, and a query
SKEW_WARNING, SKEW_PROBLEM = 30.0, 300.0  # seconds; AWS refuses what was signed five minutes ago
_MERGE_INDEXES, _QUERY_INDEXES, _BASE_MB = 2.0, 1.35, 300  # memory as a multiple of the index file: docs/operations.md
_INDEX_FILE = "data_level0.bin"


def credentials(patient: Patient) -> Iterable[Check]:
    yield verdict("ok", f"{patient.account.caller()}, region {patient.account.region}")


def clock(patient: Patient) -> Iterable[Check]:
    skew = patient.clock.now() - patient.stores.deltas.list_page(keys.DELTAS).date
    level: Level = "problem" if abs(skew) >= SKEW_PROBLEM else "warning" if abs(skew) >= SKEW_WARNING else "ok"
    direction = "ahead of" if skew > 0 else "behind"
    detail = "agrees with S3's" if abs(skew) < 2 else f"{abs(skew):.0f} s {direction} S3's"
    yield verdict(level, f"this machine's clock: {detail}", "Let it follow a time server: AWS refuses old signatures.")


def stack(patient: Patient) -> Iterable[Check]:
    status = patient.account.stack_status(patient.stack)
    good = status.endswith("_COMPLETE") and not status.startswith(("DELETE", "ROLLBACK"))
    level: Level = "ok" if good and "ROLLBACK" not in status else "warning" if "ROLLBACK" in status else "problem"
    if status.endswith("_IN_PROGRESS"):
        level = "warning"
    yield verdict(level, f"{patient.stack}: {status}", "Look at the stack's events, and deploy again.")
    deployed, here = patient.outputs.get("Release"), patient.here["siltstone"]
    if deployed != here:
        yield verdict(
            "warning",
            f"{f'release {deployed}' if deployed else 'an older release'} is deployed, {here} is here",
            "Deploy this release, or install that one.",
        )


def libraries(patient: Patient) -> Iterable[Check]:
    shown = ", ".join(f"{name} {version}" for name, version in patient.here.items())
    other: dict[str, list[str]] = {}
    for manifest in current_manifests(patient):
        made_with = manifest.libraries.get("chromadb")
        if made_with != patient.here.get("chromadb"):
            other.setdefault(made_with or "an unknown chromadb", []).append(manifest.collection)
    yield verdict("ok", shown)
    for version, collections in other.items():
        yield verdict(
            "warning",
            f"{', '.join(collections[:5])} made with chromadb {version}, {patient.here.get('chromadb')} is here",
            "Their snapshots open with any newer one; `verify --deep` tells.",
        )


def concurrency(patient: Patient) -> Iterable[Check]:
    found = patient.account.concurrency()
    yield verdict(
        "ok" if found.unreserved >= AT_ONCE else "warning",
        f"{found.unreserved} of {found.total} functions may run at once; a busy stage asks for {AT_ONCE}",
        "Ask Service Quotas for more concurrent executions of Lambda (L-B99A9384): new accounts have ten.",
    )


def memory(patient: Patient) -> Iterable[Check]:
    """No API tells an account's memory cap; what was deployed is under it. So: is it enough for what is stored?"""
    sizes = {manifest.collection: _index_mb(manifest) for manifest in current_manifests(patient)}
    largest = max(sizes, key=lambda name: sizes[name], default=None)
    for function, factor in (("Merge", _MERGE_INDEXES), ("Query", _QUERY_INDEXES)):
        has = patient.account.memory_mb(patient.output(f"{function}Function"))
        asks = 0 if largest is None else round(factor * sizes[largest] + _BASE_MB)
        told = f"; {largest} asks for about {asks:,} MB" if largest else ""
        yield verdict(
            "ok" if asks <= 0.8 * has else "warning" if asks <= has else "problem",
            f"{function} has {has:,} MB{told}",
            f"Raise functions.{function.lower()}.memory_mb in cdk.json (an account may be capped at 3,008), or shard.",
        )


def _index_mb(manifest: Manifest) -> float:
    return sum(file.size for file in manifest.files if file.path.endswith(_INDEX_FILE)) / 2**20
