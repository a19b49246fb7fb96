"""In which state the runs of an execution are: told by what each state leaves behind, the same on every stack.

The execution's history would tell it too, but only to those who may read it, a thousand events a page, and not on the
emulated AWS, which leaves out what happens inside a Map.
"""

from __future__ import annotations

from collections.abc import Sequence

from siltstone import keys
from siltstone.compaction import lock
from siltstone.compaction.documents import Plan, Work
from siltstone.compaction.messages import Message, owner_of
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.staging import parse_document
from siltstone.compaction.version import Version
from siltstone.compaction.work import STATE as MERGE
from siltstone.errors import Damage, ObjectNotFound
from siltstone.parallel import in_parallel
from siltstone.stores import Stores
from siltstone.stores.leases import Lease
from siltstone.stores.objects import ObjectInfo, ObjectStore


class RunProgress(Message):
    """A run that is under way. ``parts``: how many are merged, of how many; ``None`` where that is not known."""

    collection: str
    state: str
    parts_done: int | None = None
    parts: int | None = None


def running_states(execution: str, collections: Sequence[str], stores: Stores) -> list[RunProgress]:
    """Of those of the physical ``collections`` whose lock the execution holds now. Raises `StoreUnavailable`."""

    def look(collection: str) -> RunProgress | None:
        lease = stores.leases.read(lock.lock_id(collection))
        if lease is None or lease.owner is None or lease.owner.rpartition("-")[0] != execution:
            return None
        return _progress(collection, lease, stores.snapshots)

    return [found for found in in_parallel(look, collections) if found is not None]


def _progress(collection: str, lease: Lease, snapshots: ObjectStore) -> RunProgress:
    version = str(Version.at(lease.acquired_at, lease.token))
    try:
        if read_pointer(snapshots, collection).version == version:
            return RunProgress(collection=collection, state="Retire")
        if snapshots.head(keys.manifest(collection, version)) is not None:
            return RunProgress(collection=collection, state="PromotePointer")
        return _before_publication(collection, lease, snapshots)
    except (Damage, ObjectNotFound):  # the run itself will say so
        return RunProgress(collection=collection, state="under way")


def _before_publication(collection: str, lease: Lease, snapshots: ObjectStore) -> RunProgress:
    execution, _, index = (lease.owner or "").rpartition("-")
    staged = list(snapshots.list(f"{keys.STAGING}{collection}/{owner_of(execution, int(index))}/"))
    planned = _newest(staged, "/Download/", "/plan.json")
    if planned is None:
        return RunProgress(collection=collection, state="Download")
    plan = parse_document(Plan, snapshots.get(planned.key).body, planned.key)
    if not plan.deltas:
        return RunProgress(collection=collection, state="Retire")
    merged = _newest(staged, f"/{MERGE}/", "/work.json")
    if merged is None:
        return RunProgress(collection=collection, state=MERGE, parts_done=0, parts=len(plan.parts))
    work = parse_document(Work, snapshots.get(merged.key).body, merged.key)
    return RunProgress(
        collection=collection,
        state="Upload" if work.checks else MERGE,
        parts_done=work.parts_done,
        parts=len(plan.parts),
    )


def _newest(staged: list[ObjectInfo], state: str, name: str) -> ObjectInfo | None:
    found = [each for each in staged if state in each.key and each.key.endswith(name)]
    return max(found, key=lambda each: (each.last_modified, each.key), default=None)
