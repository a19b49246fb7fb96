"""What a quarantine holds of a source: a delta that waits there for a person is written again without its rows.

Left as it is, a replay would bring the source back. Rewriting keeps the other sources' rows, and a quarantined delta is
no part of any order, so nothing rests on its bytes.
"""

from __future__ import annotations

import numpy as np
from ulid import ULID

from siltstone import keys
from siltstone.deltas.codec import decode, encode
from siltstone.deltas.listing import CHROMA_FILE
from siltstone.deltas.quarantine import REASON_FILE
from siltstone.errors import BadDelta, ObjectNotFound, SchemaTooNew
from siltstone.purge.deltas import read_operations
from siltstone.purge.work import Purge
from siltstone.stores.objects import ObjectStore, ObjectVersion
from siltstone.verify.quarantine import Aside

_BY_HAND = "Replay it, compact, and run the purge again; or delete its object versions by hand."


def purge_quarantine(purge: Purge, collection: str, aside: list[Aside]) -> None:
    """Take the source out of every delta that lies or lay in quarantine."""
    store = purge.stores.deltas
    for each in aside:
        # Before the history: the note is written before the delta is deleted, so of one that is gone by now it is seen.
        moving = _is_waiting(store, collection, each)
        history = list(store.list_versions(each.prefix))
        kept = [entry for entry in history if not entry.is_delete_marker]
        present = any(entry.is_latest and entry.key == each.prefix + REASON_FILE for entry in kept)
        bodies = [entry for entry in kept if entry.key != each.prefix + REASON_FILE]
        try:
            rows = [_owned(purge, collection, entry) for entry in bodies]
        except (BadDelta, SchemaTooNew) as error:
            if moving:
                _hold_moving(purge, each)
            elif present:
                why = f"It can't be read, so nothing tells whether it holds its records: {error.message}"
                purge.hold("quarantine", each.prefix, why, _BY_HAND)
            else:
                purge.remove("quarantine", store, bodies)  # what S3 kept of one that was replayed
            continue
        holding = [entry for entry, (owned, _) in zip(bodies, rows, strict=True) if owned]
        if moving:
            if holding:
                _hold_moving(purge, each)
            continue
        there = [entry for entry in holding if entry.is_latest]
        if there and all(others == 0 for entry, (_, others) in zip(bodies, rows, strict=True) if entry.is_latest):
            # Nothing accounts for the delta any more that was moved here: the record does.
            gone = keys.delta(collection, _delta_id(each))
            purge.note(lambda record, gone=gone: record.with_keys([gone]))
            holding = history
        elif there:
            _rewrite(purge, collection, there[0])
        purge.remove("quarantine", store, holding)


def _is_waiting(store: ObjectStore, collection: str, aside: Aside) -> bool:
    """Whether the delta itself is still listed: a run moves it aside, or stopped doing so and will begin anew.

    What is removed of the copy then is missing beside the note that the run is about to write.
    """
    delta_id = _delta_id(aside)
    places = (
        keys.delta(collection, delta_id),
        f"{keys.DELTAS}{delta_id}/{keys.LEGACY_DELTA_FILE}",
        f"{keys.LEGACY_CHROMA_DELTAS}{delta_id}/{CHROMA_FILE}",
    )
    return any(store.head(key) is not None for key in places)


def _delta_id(aside: Aside) -> str:
    return aside.prefix.split("/")[2]


def _hold_moving(purge: Purge, aside: Aside) -> None:
    why = "A run is moving it aside, or its key was written again: the delta is still listed where it came from."
    purge.hold("quarantine", aside.prefix, why, "Compact, then run the purge again.")


def _owned(purge: Purge, collection: str, entry: ObjectVersion) -> tuple[int, int]:
    """How many of its rows are the source's, and how many others'."""
    if not entry.key.endswith(f"/{keys.DELTA_FILE}"):
        raise BadDelta(f"{entry.key} is of an older layout.")
    try:
        ids = [row for row, _ in read_operations(purge.stores.deltas, entry, purge.folder)]
    except ObjectNotFound:
        return 0, 0  # it expired just now
    owned = len(purge.subject.owned(collection, ids))
    return owned, len(ids) - owned


def _rewrite(purge: Purge, collection: str, entry: ObjectVersion) -> None:
    path = purge.folder / f"{ULID()}.parquet"
    path.write_bytes(purge.stores.deltas.get_version(entry.key, entry.version_id).body)
    header, rows = decode(path)
    path.unlink()
    kept = [place for place, row in enumerate(rows.ids) if not purge.subject.owns(collection, row)]
    body = encode(rows.take(np.array(kept, np.intp)), header.model_copy(update={"count": len(kept)}))
    purge.stores.deltas.put(entry.key, body, if_match=entry.etag)
