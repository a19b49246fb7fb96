"""The deltas: what waits can be merged as it is, and what was deleted is in a version, or in quarantine.

A version's manifest names the deltas that its run took and those that earlier runs had taken and that were still
listed. So a delta that was deleted after the oldest version of the current line was promoted is named by one of that
line: by the one that took it, or, where its retirement came late, by those that saw it still listed. What was deleted
before that is not provable any more, unless the line is kept from its first version on.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from siltstone import keys
from siltstone.clock import iso
from siltstone.compaction.download import windows
from siltstone.compaction.selection import identity
from siltstone.deltas.listing import PendingDelta
from siltstone.deltas.reading import fetch_delta, read_fetched
from siltstone.errors import BadDelta, ObjectNotFound, PreconditionFailed, SchemaTooNew
from siltstone.parallel import in_parallel
from siltstone.settings import CollectionSettings
from siltstone.stores.objects import ObjectStore
from siltstone.verify.delta_history import KnownDelta, Life
from siltstone.verify.findings import Findings
from siltstone.verify.inventory import Inventory, merged
from siltstone.verify.progress import Progress
from siltstone.verify.quarantine import accounted


def check_deltas(inventory: Inventory, findings: Findings) -> None:
    """What the history tells of each delta; nothing is read."""
    for key in inventory.strange:
        findings.warning(
            "key-strange", key, "It is nothing that this product writes here.", "Find out who does, and delete it."
        )
    _Histories(inventory, findings).check()


def read_pending(
    inventory: Inventory,
    settings: CollectionSettings,
    store: ObjectStore,
    folder: Path,
    *,
    findings: Findings,
    progress: Progress,
) -> None:
    """Read every delta that is not merged yet, header and rows, as a run would. ``folder``: private."""
    done = merged(inventory.line)
    waiting = [delta for delta in inventory.pending if identity(delta) not in done]
    progress.begin("pending deltas", sum(delta.size for delta in waiting), "bytes")
    findings.count(deltas_pending=len(waiting))
    read = partial(_read, settings=settings, store=store, folder=folder, findings=findings, progress=progress)
    for window in windows(waiting):
        in_parallel(read, window)


def _read(
    delta: PendingDelta,
    *,
    settings: CollectionSettings,
    store: ObjectStore,
    folder: Path,
    findings: Findings,
    progress: Progress,
) -> None:
    try:
        fetched = fetch_delta(store, delta, settings, folder)
        read_fetched(fetched, settings)
        fetched.path.unlink()
    except (BadDelta, SchemaTooNew) as error:
        findings.error(
            "delta-damaged",
            delta.key,
            error.message,
            "The next run moves it to quarantine. If it was damaged here, bring back the object's first version.",
        )
    except (ObjectNotFound, PreconditionFailed):
        pass  # a run took it meanwhile
    progress.advance(delta.size)


class _Histories:
    """Each delta's lives against what the versions and the quarantine name."""

    def __init__(self, inventory: Inventory, findings: Findings) -> None:
        self._findings = findings
        self._collection = inventory.collection
        self._deltas = inventory.deltas
        self._manifests = inventory.versions.manifests
        self._line = inventory.line
        self._accounted = merged(self._line) | accounted(inventory.aside)
        self._accounted_keys = {each.key for each in self._accounted}
        self._named = {each.key: each.etag for manifest in self._manifests.values() for each in manifest.applied}
        self._was_purged = inventory.was_purged
        self._provable_after = _provable_after(inventory)

    def check(self) -> None:
        unprovable = 0
        for delta in self._deltas.values():
            self._check_body(delta)
            self._check_returned(delta)
            first = delta.lives[0]
            if first.ended is None:
                continue
            self._findings.count(deltas_deleted=1)
            if self._is_accounted(delta, first):
                self._findings.count(deltas_accounted=1)
            elif first.ended > self._provable_after and not self._was_purged(delta.key):
                self._lost(delta, first)
            else:
                unprovable += 1
        if unprovable:
            self._findings.count(deltas_unprovable=unprovable)
            oldest = self._line[-1].version if self._line else "any version that can be read"
            self._findings.info(
                "delta-unprovable",
                keys.deltas(self._collection),
                f"{unprovable} deltas were deleted before {oldest} was current, or purged: whether they were merged is "
                "not provable any more.",
            )

    def _is_accounted(self, delta: KnownDelta, life: Life) -> bool:
        identities = delta.identities(life)
        if not identities:  # its body has expired, and its ETag with it
            return delta.key in self._accounted_keys
        return not self._accounted.isdisjoint(identities)

    def _lost(self, delta: KnownDelta, life: Life) -> None:
        elsewhere = [
            manifest.version
            for manifest in self._manifests.values()
            if any(each in manifest.applied for each in delta.identities(life))
        ]
        self._findings.error(
            "delta-lost",
            delta.key,
            f"It was deleted at {iso(life.ended or 0)}, and no version of the current line contains it"
            + (f" (only {', '.join(elsewhere)}, which the current one does not descend from)." if elsewhere else "."),
            "Remove its delete marker in the delta bucket: the next compaction merges it."
            if life.bodies
            else "Its body has expired: embed its sources again.",
        )

    def _check_body(self, delta: KnownDelta) -> None:
        """A key is written once in its life: what was merged is what lies there."""
        life = delta.lives[0]
        etags = list(dict.fromkeys(body.etag for body in life.bodies))
        recorded = self._named.get(delta.key)
        replaced = bool(etags) and recorded is not None and recorded != etags[-1]
        if len(etags) > 1 or (replaced and life.ended is None):
            self._findings.error(
                "delta-rewritten",
                delta.key,
                f"Its body was replaced by another{'' if recorded is None else f', {recorded} is what was merged'}: "
                "a delta is written once.",
                "Write what the other body holds under a key of its own.",
            )

    def _check_returned(self, delta: KnownDelta) -> None:
        first, *later = delta.lives
        known = {body.etag for body in first.bodies}
        strangers = {body.etag for life in later for body in life.bodies} - known
        if known and strangers:
            self._findings.warning(
                "delta-returned",
                delta.key,
                "Its key was written again with another body after it had been retired: that body is never merged.",
                "If it is wanted, write its rows under a new key; its producer must not use a key twice.",
            )


def _provable_after(inventory: Inventory) -> float:
    """Epoch seconds: what was deleted later must be named by a version of the line.

    Not in that very second: the run before may have deleted it just before the promotion.
    """
    line = inventory.line
    if inventory.newest is None or (line and line[-1].parent is None):
        return -math.inf
    promoted = inventory.promoted_at(line[-1].version) if line else None
    return math.inf if promoted is None else promoted
