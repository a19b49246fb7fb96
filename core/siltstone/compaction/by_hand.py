"""What a person who starts a compaction wants to know before: what will be merged, what waits, and why."""

from __future__ import annotations

from collections.abc import Sequence

from ulid import ULID

from siltstone.clock import Clock
from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.messages import DueCollection, ListCollectionsInput, Message
from siltstone.compaction.pauses import Pause, pause_of, read_pauses
from siltstone.deltas.listing import list_all_pending
from siltstone.deltas.shards import physical
from siltstone.errors import CollectionPaused
from siltstone.keys import split_shard
from siltstone.stores import Stores
from siltstone.stores.machines import Machine


class StartPlan(Message):
    """What a start would do. ``waiting``: deltas by collection that are in no run's reach yet, or not due.

    ``settles_in``: seconds until the youngest delta of what was asked for can be merged; 0 if all can.
    """

    request: ListCollectionsInput
    due: list[DueCollection]
    waiting: dict[str, int]
    paused: list[Pause]
    unknown: list[str]
    settles_in: float


def plan_start(collections: Sequence[str], stores: Stores, clock: Clock, *, force: bool = False) -> StartPlan:
    """Look at the backlog as ``ListCollections`` will. Named collections are merged now, due or not; so are all that
    have deltas with ``force``.

    Raises `UnknownCollection`, `CollectionPaused` if one that was named is paused, `StoreUnavailable`.
    """
    names = [shard for name in collections for shard in _shards(name, stores)]
    pauses = read_pauses(stores.snapshots, clock)
    for name in names:
        if (paused := pause_of(name, pauses)) is not None:
            raise CollectionPaused(
                f"{paused}.", remedy=f"`siltstone compact resume{_argument(paused)}` ends the pause."
            )
    request = ListCollectionsInput(collections=names or None, force=force or bool(names))
    listed = list_collections(request, stores, clock)
    pending = list_all_pending(stores.deltas, stores.settings)
    due = {one.collection for one in listed.due}
    waiting: dict[str, int] = {}
    young: list[int] = []
    settled = set(pending.settled(stores.settings.settle_seconds))
    for delta in pending.deltas:
        asked = not names or delta.collection in names
        if not asked or delta.collection in listed.paused or delta.collection in listed.unknown:
            continue
        if request.force and delta not in settled:
            young.append(delta.last_modified)
        if delta not in settled or delta.collection not in due:
            waiting[delta.collection] = waiting.get(delta.collection, 0) + 1
    return StartPlan(
        request=request,
        due=listed.due,
        waiting=waiting,
        paused=[one for one in pauses if any(one.stops(name) for name in listed.paused)],
        unknown=listed.unknown,
        settles_in=float(max(young) + stores.settings.settle_seconds + 1 - pending.date) if young else 0.0,
    )


def start(plan: StartPlan, machine: Machine) -> str:
    """Start what was planned and return the execution's name. Raises `StoreUnavailable`: start again."""
    return machine.start(plan.request.model_dump(mode="json"), name=f"by-hand-{ULID()}")


def _shards(name: str, stores: Stores) -> list[str]:
    settings = stores.settings.resolve(name)
    return [name] if split_shard(name)[1] is not None else physical(name, settings)


def _argument(pause: Pause) -> str:
    return f" {pause.collection}" if pause.collection else ""
