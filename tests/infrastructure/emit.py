"""Run the handlers that emit metrics, over stores in memory: ``python -m tests.infrastructure.emit``.

A process of its own, because Powertools reads the environment once, when the handlers are imported.
"""

from __future__ import annotations

import contextlib

from siltstone.clock import SystemClock
from siltstone.errors import LockBusy
from siltstone.settings import CollectionBook
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.sources_memory import MemorySources

from functions import acquire_lock, download, list_collections


class Context:
    function_name = "emit"
    aws_request_id = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def main() -> None:
    clock = SystemClock()
    stores = Stores(
        deltas=MemoryObjects(clock),
        snapshots=MemoryObjects(clock),
        leases=MemoryLeases(),
        ledger=MemoryLedger(),
        sources=MemorySources(),
        hints=MemoryHints(),
        settings=CollectionBook(),
    )
    for module in (list_collections, acquire_lock, download):
        module.stores = lambda: stores  # type: ignore[assignment]
    list_collections.handler({"operation": "compact"}, Context())
    run = acquire_lock.handler({"collection": "lines", "execution": "first", "index": 0}, Context())
    with contextlib.suppress(LockBusy):
        acquire_lock.handler({"collection": "lines", "execution": "second", "index": 0}, Context())
    download.handler({"run": run}, Context())


if __name__ == "__main__":
    main()
