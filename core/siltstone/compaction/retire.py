"""State ``Retire``: delete what the promoted version made superfluous. All of it can be run again.

The order is what makes it safe: a delta is deleted only here, after the pointer was read again and found to name a
version that contains it. A run that lost its lock and its race stops before it deletes anything.
"""

from __future__ import annotations

from siltstone.clock import Clock
from siltstone.compaction import lock
from siltstone.compaction.documents import AppliedDelta
from siltstone.compaction.manifests import descends, read_manifest
from siltstone.compaction.messages import RetireInput, RetireOutput
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.retention import remove_expired
from siltstone.deltas.retire import retire_delta
from siltstone.errors import PointerMoved
from siltstone.parallel import in_parallel
from siltstone.stores import Stores


def retire(request: RetireInput, stores: Stores, clock: Clock) -> RetireOutput:
    """Delete the deltas that ``version``'s manifest names, then versions beyond retention.

    Raises `LockLost`, `PointerMoved` if ``version`` is neither current nor an ancestor of what is, `PointerMissing`,
    `UnknownVersion`, `StoreUnavailable`.
    """
    collection, version = request.run.collection, request.version
    lock.renew(request.run, stores, clock)
    if version is None:
        return RetireOutput(deltas_deleted=0, versions_deleted=0)
    current = read_pointer(stores.snapshots, collection).version
    if current is None or not descends(stores.snapshots, collection, current, version):
        raise PointerMoved(
            f"{collection} is at {current}, which does not descend from {version}.",
            remedy="Nothing was deleted; its deltas are pending again.",
        )

    def retire_one(applied: AppliedDelta) -> bool:
        return retire_delta(stores.deltas, applied.key, applied.etag)

    deleted = in_parallel(retire_one, read_manifest(stores.snapshots, collection, version).applied)
    retention = stores.settings.resolve(collection).retention
    return RetireOutput(
        deltas_deleted=sum(deleted),
        versions_deleted=remove_expired(stores.snapshots, collection, current, retention),
    )
