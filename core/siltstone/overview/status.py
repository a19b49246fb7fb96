"""A stage at a glance: what waits, what is current, who holds which lock, and what the ledger counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from siltstone import keys
from siltstone.clock import Clock
from siltstone.compaction.documents import AppliedDelta, Manifest
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import Message
from siltstone.compaction.pauses import Pause, read_pauses
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.selection import identity
from siltstone.deltas.listing import Pending, PendingDelta, list_all_pending
from siltstone.deltas.quarantine import REASON_FILE
from siltstone.errors import BadSettings, Damage, InvalidInput, SchemaTooNew, UnknownCollection, UnknownVersion
from siltstone.overview.collections import collection_names
from siltstone.overview.executions import ExecutionInfo, list_executions
from siltstone.overview.locks import LockInfo, list_locks
from siltstone.parallel import in_parallel
from siltstone.settings import CollectionBook
from siltstone.stores import Stores
from siltstone.stores.ledger import Ledger
from siltstone.stores.machines import Machine
from siltstone.stores.objects import ObjectStore

LATEST = 3  # executions of each machine


class CollectionStatus(Message):
    """One physical collection. Pending deltas are those that no version contains yet.

    ``problem``: why it can't be read or is never compacted, where that is so.
    """

    collection: str
    version: str | None
    created_at: str | None
    rows: int | None
    bytes: int | None
    pending_deltas: int
    pending_bytes: int
    oldest_age_seconds: float | None
    quarantined: int
    lock: LockInfo
    problem: str | None


class LedgerTotals(Message):
    """Over all batches; a record that was sent again counts once. ``cost_usd`` is ``None`` where a price is unknown."""

    batches: dict[str, int]  # by status
    submitted: int
    embedded: int
    to_retry: int
    rejected: int
    outdated: int
    quarantined: int
    tokens: int
    cost_usd: float | None
    unbalanced: list[str]  # ids of batches whose records don't add up


class MachineActivity(Message):
    """A machine's latest executions, newest first. ``problem``: why they can't be listed."""

    machine: str
    executions: list[ExecutionInfo]
    problem: str | None = None


class Status(Message):
    """A stage. ``strange``: keys among the deltas that are no delta's. ``oldest_age_seconds``: of all that waits."""

    collections: list[CollectionStatus]
    oldest_age_seconds: float | None
    paused: list[Pause]
    strange: list[str]
    machines: list[MachineActivity]
    ledger: LedgerTotals


def read_status(stores: Stores, clock: Clock, machines: Mapping[str, Machine]) -> Status:
    """Ages are by the store's clock. Raises `StoreUnavailable`; damage is named in ``problem``."""
    pending = list_all_pending(stores.deltas, stores.settings)
    names = collection_names(stores, pending)
    locks = {info.collection: info for info in list_locks(names, stores, clock)}
    quarantined = _quarantined(stores.deltas)

    def read(collection: str) -> CollectionStatus:
        return _status(collection, stores, pending, locks[collection], quarantined[collection])

    collections = in_parallel(read, names)
    ages = [each.oldest_age_seconds for each in collections if each.oldest_age_seconds is not None]
    return Status(
        collections=collections,
        oldest_age_seconds=max(ages, default=None),
        paused=read_pauses(stores.snapshots, clock),
        strange=pending.strange,
        machines=[_activity(name, machine, clock) for name, machine in machines.items()],
        ledger=_ledger_totals(stores.ledger),
    )


def _activity(name: str, machine: Machine, clock: Clock) -> MachineActivity:
    """A role that may read the stores alone still gets its status."""
    try:
        return MachineActivity(machine=name, executions=list_executions(machine, clock, LATEST))
    except BadSettings as error:
        return MachineActivity(machine=name, executions=[], problem=error.message)


def _status(collection: str, stores: Stores, pending: Pending, lock: LockInfo, quarantined: int) -> CollectionStatus:
    manifest, problem = _current(stores.snapshots, collection)
    merged = set(manifest.applied) if manifest is not None else set[AppliedDelta]()
    mine = [delta for delta in pending.deltas if delta.collection == collection and identity(delta) not in merged]
    return CollectionStatus(
        collection=collection,
        version=manifest and manifest.version,
        created_at=manifest and manifest.created_at,
        rows=manifest and manifest.counts.after,
        bytes=manifest and manifest.total_bytes,
        pending_deltas=len(mine),
        pending_bytes=sum(delta.size for delta in mine),
        oldest_age_seconds=_oldest(mine, pending.date),
        quarantined=quarantined,
        lock=lock,
        problem=problem or _unknown(stores.settings, collection),
    )


def _current(snapshots: ObjectStore, collection: str) -> tuple[Manifest | None, str | None]:
    try:
        version = read_pointer(snapshots, collection).version
        return (None if version is None else read_manifest(snapshots, collection, version)), None
    except (Damage, UnknownVersion, SchemaTooNew) as error:
        return None, f"{type(error).__name__}: {error.message}"


def _unknown(book: CollectionBook, collection: str) -> str | None:
    try:
        book.resolve(collection)
    except (UnknownCollection, InvalidInput):
        return "No setting names it: its deltas wait for ever."
    return None


def _oldest(deltas: list[PendingDelta], date: int) -> float | None:
    return float(max(0, date - min(delta.last_modified for delta in deltas))) if deltas else None


def _quarantined(store: ObjectStore) -> Counter[str]:
    notes = (found.key for found in store.list(keys.QUARANTINE) if found.key.endswith(f"/{REASON_FILE}"))
    return Counter(key.split("/")[1] for key in notes)


def _ledger_totals(ledger: Ledger) -> LedgerTotals:
    batches = list(ledger.list())
    counts = [batch.counts for batch in batches]
    costs = [batch.cost_usd for batch in batches]
    return LedgerTotals(
        batches=dict(Counter(batch.status for batch in batches)),
        submitted=sum(each.submitted for each in counts),
        embedded=sum(each.embedded for each in counts),
        to_retry=sum(each.to_retry for each in counts),
        rejected=sum(each.rejected for each in counts),
        outdated=sum(each.outdated for each in counts),
        quarantined=sum(sum(batch.quarantined.values()) for batch in batches),
        tokens=sum(batch.tokens for batch in batches),
        cost_usd=None if None in costs else round(sum(cost for cost in costs if cost is not None), 6),
        unbalanced=sorted(
            batch.batch_id
            for batch, each in zip(batches, counts, strict=True)
            if not all(attempt.counts.balanced for attempt in batch.attempts)
            or each.to_retry < 0
            or (batch.status == "COMPLETE" and each.to_retry)
        ),
    )
