"""An operator's pause of a collection's compaction, or of all: a small object beside the pins, read where runs begin.

``ListCollections`` stands at the beginning of every run, whoever started it: the schedule, a hint, a person, or an
execution that goes on with a backlog. So what it leaves out is not compacted, and nothing else has to know. A run that
is under way ends as it would; a rollback is an operator's own hand and is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.compaction.messages import Message
from siltstone.errors import InvalidInput, ObjectNotFound, PreconditionFailed, StoreUnavailable
from siltstone.stores import Stores
from siltstone.stores.objects import ObjectInfo, ObjectStore
from siltstone.times import epoch_seconds, parse_time

MAX_REASON = 500  # characters
_RACES = 5


class Pause(Message):
    """Since when and why. ``collection``: ``None`` for all of them; ``until``: ``None`` until somebody resumes it."""

    collection: str | None
    since: str
    reason: str = ""
    until: str | None = None

    def holds(self, now: float) -> bool:
        """Whether it has not ended by itself."""
        return self.until is None or now < epoch_seconds(self.until)

    def stops(self, collection: str) -> bool:
        """Whether a physical collection is meant: by its own name, by that of the collection it is a shard of."""
        return self.collection in {None, collection, keys.split_shard(collection)[0]}

    def __str__(self) -> str:
        until = f" until {self.until}" if self.until else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.collection or 'every collection'} is paused since {self.since}{until}{why}"


def read_pauses(snapshots: ObjectStore, clock: Clock) -> list[Pause]:
    """Those that hold now; that of all collections first. Raises `StoreUnavailable`."""
    found = [_read(snapshots, each) for each in snapshots.list(keys.PAUSED) if not each.key.endswith("/")]
    holding = [pause for pause in found if pause is not None and pause.holds(clock.now())]
    return sorted(holding, key=lambda pause: pause.collection or "")


def pause_of(collection: str, pauses: Sequence[Pause]) -> Pause | None:
    """The first that stops a physical collection."""
    return next((pause for pause in pauses if pause.stops(collection)), None)


def pause(collection: str | None, stores: Stores, clock: Clock, *, reason: str = "", until: str | None = None) -> Pause:
    """Let no run of ``collection`` begin (``None``: of any) until `resume`, or until ``until`` (see `parse_until`).

    Paused already, it stays paused since when it was, with the new reason and end. Raises `UnknownCollection`,
    `InvalidInput` for a time that has passed, `StoreUnavailable`.
    """
    if collection is not None:
        stores.settings.resolve(collection)
    if len(reason) > MAX_REASON:
        raise InvalidInput(f"The reason has {len(reason)} characters.", remedy=f"Use at most {MAX_REASON}.")
    key = keys.pause(collection)
    for _ in range(_RACES):
        found = stores.snapshots.head(key)
        before = None if found is None else _read(stores.snapshots, found)
        held = before is not None and before.holds(clock.now())
        since = before.since if before is not None and held else iso(clock.now())
        wanted = Pause(collection=collection, since=since, reason=reason, until=until)
        if wanted == before:
            return wanted
        try:
            body = wanted.model_dump_json(indent=2).encode()
            stores.snapshots.put(key, body, create_only=found is None, if_match=None if found is None else found.etag)
        except (PreconditionFailed, ObjectNotFound):
            continue  # somebody else paused or resumed it meanwhile
        return wanted
    raise StoreUnavailable(f"{key} changed {_RACES} times while it was written.", remedy="Try again.")


def resume(collection: str | None, stores: Stores) -> bool:
    """End the pause of exactly this collection, or that of all (``None``). ``False``: there was none.

    Raises `InvalidInput` for what is no name: an empty one in a script must not end the pause of all.
    """
    key = keys.pause(None if collection is None else keys.check_collection(collection))
    there = stores.snapshots.head(key) is not None
    stores.snapshots.delete(key)
    return there


def parse_until(text: str, now: float) -> str:
    """``2026-02-01T06:00`` (UTC, unless it names a zone), or a length from now: ``90min``, ``6h``, ``3d``.

    Raises `InvalidInput`, also for a time that has passed.
    """
    at = parse_time(text, now, ago=False)
    try:
        written = iso(at)
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"{text[:80]!r} is too far away.", remedy="Leave --until away: resume it by hand.") from None
    if at <= now:
        raise InvalidInput(f"{written} has passed: it is {iso(now)}.", remedy="Name a later time.")
    return written


def _read(snapshots: ObjectStore, found: ObjectInfo) -> Pause | None:
    """``None``: it was resumed since it was listed. A note that can't be read holds: somebody wanted to pause."""
    try:
        body = snapshots.get(found.key).body
    except ObjectNotFound:
        return None
    name = found.key.removeprefix(keys.PAUSED).removesuffix(".json")
    collection = None if found.key == keys.pause(None) else name
    try:
        pause = Pause.model_validate_json(body)
        pause.holds(0.0)
    except (ValidationError, ValueError):
        return Pause(collection=collection, since=iso(found.last_modified), reason="its note can't be read")
    return pause.model_copy(update={"collection": collection})
