"""`ListCollections` for real, over a bucket in memory: what is due follows its own rules, not a script's."""

from __future__ import annotations

from typing import Any, cast

from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction import list_collections as state
from siltstone.compaction.messages import ListCollectionsInput
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.stores import Stores
from siltstone.stores.objects_memory import MemoryObjects


def list_for_real(payload: Any, pending: list[str], at_most: int) -> dict[str, Any]:
    """The state's answer where ``pending`` have a delta each, the first the oldest, all old enough to be due."""
    clock = ManualClock()
    bucket = MemoryObjects(clock)
    for name in pending:
        bucket.put(keys.delta(name, "01"), b"rows")
        clock.advance(1)
    clock.advance(86_400)
    settings = CollectionBook(collections={"*": CollectionSettings()})
    stores = Stores(bucket, bucket, *[cast(Any, None)] * 4, settings=settings)  # no other store is touched
    state.MAX_DUE = at_most  # 100: more collections than that would only make the test slow
    return state.list_collections(ListCollectionsInput.model_validate(payload), stores, clock).model_dump(mode="json")
