"""The few adapters through which the world is reached, each a protocol with an in-memory twin."""

from __future__ import annotations

from dataclasses import dataclass

from siltstone.settings import CollectionBook
from siltstone.stores.hints import HintQueue
from siltstone.stores.leases import LeaseStore
from siltstone.stores.ledger import Ledger
from siltstone.stores.objects import ObjectStore
from siltstone.stores.sources import SourceTable


@dataclass(frozen=True)
class Stores:
    """What a state function may touch. ``deltas`` and ``snapshots`` are two buckets."""

    deltas: ObjectStore
    snapshots: ObjectStore
    leases: LeaseStore
    ledger: Ledger
    sources: SourceTable
    hints: HintQueue
    settings: CollectionBook
