"""Broken variants of the code, each a context: what the simulation has to find."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from siltstone import keys
from siltstone.clock import Clock
from siltstone.compaction import download, promote_pointer, retention, rollback, selection
from siltstone.compaction.documents import Manifest, Pin
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import PromotePointerInput, PromotePointerOutput, Run
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.staging import read_document
from siltstone.deltas.listing import PendingDelta
from siltstone.query import pending, reader
from siltstone.stores import Stores
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.objects import ObjectStore

from tests.faults.simulation import machine
from tests.faults.simulation.driver import FREEZABLE, LONG_WAITS, SHORT_WAITS, WEIGHTS


@dataclass(frozen=True)
class Mutation:
    """``broken``: makes the variant; ``invariants``: each of which finds it; ``habits``: in which it shows soon."""

    broken: Callable[[], AbstractContextManager[object]]
    invariants: tuple[str, ...]
    habits: dict[str, Any] = field(default_factory=dict)


def promote_without_if_match() -> AbstractContextManager[object]:
    """The pointer is written whatever it says by now."""

    def promote(snapshots: ObjectStore, collection: str, *, pinned: Pin, version: str) -> str:
        return snapshots.put(keys.pointer(collection), keys.version(collection, version).encode())

    return mock.patch.object(promote_pointer, "promote", promote)


def retire_before_promote() -> AbstractContextManager[object]:
    """The deltas go first: they are in the new version, after all."""
    real = machine.FUNCTIONS["PromotePointer"]

    def promote(request: PromotePointerInput, stores: Stores, clock: Clock) -> PromotePointerOutput:
        for delta in read_document(stores.snapshots, request.manifest, Manifest).applied:
            stores.deltas.delete(delta.key, if_match=delta.etag)
        output: PromotePointerOutput = real(request, stores, clock)
        return output

    return mock.patch.dict(machine.FUNCTIONS, {"PromotePointer": promote})


def pointer_before_listing() -> AbstractContextManager[object]:
    """A strong read asks the pointer first and lists the deltas then."""
    real = pending.PendingReader._try

    def attempt(self: Any, collection: str, settings: Any, stack: ExitStack) -> Any:
        seen = stack.enter_context(self._reader.reading(collection, fresh=True))
        with mock.patch.object(self, "_reader", mock.Mock(reading=lambda *_, **__: nullcontext(seen))):
            return real(self, collection, settings, stack)

    return mock.patch.object(pending.PendingReader, "_try", attempt)


def rollback_by_the_old_pointer() -> AbstractContextManager[object]:
    """The pointer's old body is written again."""

    def back(run: Run, to: str, stores: Stores, clock: Clock) -> PromotePointerOutput:
        base = read_pointer(stores.snapshots, run.collection)
        body = keys.version(run.collection, to).encode()
        etag = stores.snapshots.put(keys.pointer(run.collection), body, if_match=base.etag)
        return PromotePointerOutput(version=to, previous=base.version, etag=etag)

    return mock.patch.object(rollback, "_under_lock", back)


def without_applied() -> AbstractContextManager[object]:
    """Download does not ask what its base contains."""
    return mock.patch.object(download, "_applied", lambda *_: set())


def without_earlier_lives() -> AbstractContextManager[object]:
    """A delta that comes back is a delta."""
    return mock.patch.object(download, "without_second_lives", lambda _, deltas: deltas)


def release_whoever_holds_it() -> AbstractContextManager[object]:
    """A lock is released without a look at its owner."""
    real = MemoryLeases.release

    def release(self: MemoryLeases, lock_id: str, owner: str, token: int, **named: Any) -> bool:
        found = self.read(lock_id)
        if found is None or found.owner is None:
            return False
        return real(self, lock_id, found.owner, found.token, **named)

    return mock.patch.object(MemoryLeases, "release", release)


def order_by_key() -> AbstractContextManager[object]:
    """Deltas are applied in the order of their keys, which are producers' clocks."""
    return mock.patch.object(PendingDelta, "order", property(lambda self: (0, self.key)))


def without_settling() -> AbstractContextManager[object]:
    """A run takes everything that a listing shows."""
    return mock.patch.object(download, "list_pending", _all_settled(download.list_pending))


def _all_settled(real: Any) -> Any:
    def listing(*arguments: Any) -> Any:
        found = real(*arguments)
        return mock.Mock(date=found.date, deltas=found.deltas, settled=lambda _: found.deltas)

    return listing


def poison_without_a_name() -> AbstractContextManager[object]:
    """Three failures on the lease convict whoever is first."""

    def is_poison(delta: PendingDelta, lease: Any) -> bool:
        return lease.take == 1 and lease.failures >= selection.POISON_FAILURES

    return mock.patch.object(download, "is_poison", is_poison)


def removal_without_a_mark() -> AbstractContextManager[object]:
    """Retention lists the pins once, and then deletes."""

    def remove(snapshots: ObjectStore, collection: str, version: str) -> bool:
        snapshots.delete(keys.manifest(collection, version))
        snapshots.delete_many([found.key for found in snapshots.list(keys.version(collection, version))])
        return True

    return mock.patch.object(retention, "_remove", remove)


def any_version_the_pointer_names() -> AbstractContextManager[object]:
    """A failed refresh counts as done: the reader goes on with what it has and asks no more."""
    real = reader.SnapshotReader._ask

    def ask(self: Any, collection: str, followed: Any) -> Pin:
        pin = real(self, collection, followed)
        followed.etag = pin.etag
        return pin

    return mock.patch.object(reader.SnapshotReader, "_ask", ask)


def stage_settings_win() -> AbstractContextManager[object]:
    """Download judges by what the stage says now, whatever the manifest says."""

    def applied(stores: Stores, collection: str, pin: Pin, settings: Any) -> Any:
        return set(read_manifest(stores.snapshots, collection, pin.version).applied) if pin.version else set()

    return mock.patch.object(download, "_applied", applied)


def standing_still(**rates: float) -> dict[str, float]:
    """How likely a process stands still for a while at each call: these, and no others."""
    return dict.fromkeys(FREEZABLE, 0.0) | rates


def often(**weights: float) -> dict[str, float]:
    """What is done how often: compactions and reads as ever, these as said, nothing else."""
    return dict.fromkeys(WEIGHTS, 0.0) | {"produce": 30.0, "compact": 8.0, "read": 10.0, "advance": 18.0} | weights


CALM: dict[str, Any] = {
    "fault_rate": 0.0,
    "afflicted": (),
    "ambush": 0.0,
    "poison": 0.0,
    "skewed": 0.0,
    "waits": SHORT_WAITS,
    "freezing": standing_still(),
}
CROWDED: dict[str, Any] = {**CALM, "executions": 4, "skewed": 0.7}  # whose clock is fast takes a lease before its time

MUTATIONS: dict[str, Mutation] = {
    "promote without If-Match": Mutation(
        promote_without_if_match,
        ("one_promotion_per_pin",),
        {
            **CALM,
            "executions": 2,
            "ambush": 0.3,
            "stickiness": 0.9,
            "weights": often(compact=20.0, read=1.0, give_up=10.0),
        },
    ),
    "retire before promote": Mutation(retire_before_promote, ("deltas_leave_only_merged",)),
    "strong read: pointer first": Mutation(
        pointer_before_listing,
        ("readers_see_one_version",),
        {**CALM, "freezing": standing_still(Read=0.1), "stickiness": 0.9, "weights": often(compact=20.0, read=20.0)},
    ),
    "rollback: the old body": Mutation(
        rollback_by_the_old_pointer, ("one_promotion_per_pin",), {**CALM, "weights": often(rollback=10.0)}
    ),
    "skip applied": Mutation(
        without_applied,
        ("content_is_base_plus_deltas",),
        {
            **CALM,
            "faults": ("crash before",),
            "fault_rate": 0.2,
            "afflicted": ("Retire",),
            "weights": often(compact=20.0, rollback=5.0, read=1.0),
        },
    ),
    "no earlier-life check": Mutation(
        without_earlier_lives,
        ("content_is_base_plus_deltas", "applying_again_changes_nothing"),
        {**CALM, "weights": often(again=20.0)},
    ),
    "release without owner": Mutation(
        release_whoever_holds_it, ("only_owners_touch_locks",), {**CROWDED, "freezing": standing_still(ReleaseLock=0.4)}
    ),
    "order by key alone": Mutation(
        order_by_key,
        ("content_is_base_plus_deltas", "readers_see_one_version"),
        {**CALM, "weights": often(skew=10.0)},
    ),
    "no settle margin": Mutation(
        without_settling,
        ("content_is_base_plus_deltas",),
        {
            **CALM,
            "faults": ("slow", "late"),
            "fault_rate": 0.5,
            "afflicted": ("Produce",),
            "weights": often(compact=20.0, read=1.0, advance=8.0, land=3.0),
        },
    ),
    "poison without a name": Mutation(
        poison_without_a_name,
        ("deltas_leave_only_merged",),
        {
            **CALM,
            "poison": 8.0,
            "faults": ("unavailable", "lost"),
            "fault_rate": 0.1,
            "afflicted": ("Download",),
            "weights": often(compact=30.0, read=1.0),
        },
    ),
    "removal without a mark": Mutation(
        removal_without_a_mark,
        ("named_objects_exist",),
        {
            **CALM,
            "executions": 2,
            "stickiness": 0.9,
            "waits": LONG_WAITS,
            "freezing": standing_still(Retire=0.1),
            "weights": often(compact=20.0, read=0.0, pin=20.0, unpin=10.0, advance=10.0),
        },
    ),
    "a failed refresh is done": Mutation(
        any_version_the_pointer_names,
        ("readers_see_one_version",),
        {**CALM, "faults": ("unavailable", "lost"), "fault_rate": 0.05, "weights": often(read=40.0)},
    ),
    "the stage's settings win": Mutation(
        stage_settings_win, ("deltas_leave_only_merged",), {**CALM, "weights": often(deploy=2.0)}
    ),
}
