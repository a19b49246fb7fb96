"""Which sources a plan may take: what nobody has claimed, and claims that mean nothing any more."""

from __future__ import annotations

from collections.abc import Iterable

from siltstone.embedding.messages import PlanBatchesInput
from siltstone.stores import Stores
from siltstone.stores.ledger import BatchItem
from siltstone.stores.sources import Claim, CollectionState, SourceItem

STALE_SECONDS = 3_600.0  # a planning function that claimed and never wrote its batch is long dead


class Claims:
    """What a plan knows of the claims it meets. ``now``: epoch seconds."""

    def __init__(self, request: PlanBatchesInput, stores: Stores, now: float) -> None:
        self._request = request
        self._stores = stores
        self._now = now

    def takeable(self, items: Iterable[SourceItem]) -> dict[str, list[str]]:
        """Collections, by source id, in which this plan may take the source."""
        found: dict[str, list[str]] = {}
        claims: dict[tuple[str, str], Claim] = {}
        for item in items:
            if item.deleted_at is not None:
                continue
            for name, state in sorted(item.collections.items()):
                if self._request.collections is not None and name not in self._request.collections:
                    continue
                if state.claim is not None:
                    claims[item.source_id, name] = state.claim
                elif self._unclaimed(state):
                    found.setdefault(item.source_id, []).append(name)
        # Read after the claims, consistently: a batch that was written since is seen.
        batches = self._stores.ledger.read_many({claim.batch_id for claim in claims.values()})
        for (source_id, name), claim in claims.items():
            if self._void(claim, batches.get(claim.batch_id)):
                found.setdefault(source_id, []).append(name)
        return found

    def _unclaimed(self, state: CollectionState) -> bool:
        return state.status == "NONE" or (state.status == "FAILED" and self._request.retry_failed)

    def _void(self, claim: Claim, batch: BatchItem | None) -> bool:
        """Whether nobody works under this claim: its batch is closed, or it was never written and never will be."""
        if batch is not None:
            return not batch.open
        return claim.plan == self._request.execution or claim.at <= self._now - STALE_SECONDS
