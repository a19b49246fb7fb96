"""The pointer's whole history: bodies parse, tokens only grow, each was made from the one before, the last is current.

What is wrong now is an error. What was wrong once and has been mended is a warning, since nobody can mend the past:
the content that it may have cost is found by the other checks.
"""

from __future__ import annotations

from itertools import pairwise

from siltstone import keys
from siltstone.clock import iso
from siltstone.compaction import lock
from siltstone.settings import CollectionSettings
from siltstone.verify.findings import Findings
from siltstone.verify.inventory import Inventory, PointerWrite, token_of

_RESTORE = "Delete the newest object versions of the key, so that {version} is its body again."


def check_pointer(inventory: Inventory, settings: CollectionSettings | None, findings: Findings) -> None:
    """``settings``: for the retention that removed versions are measured by; ``None`` where no setting is known."""
    findings.count(pointer_writes=len(inventory.writes))
    if _check_current(inventory, findings):
        _check_past(inventory, findings)
        _check_parents(inventory, findings)
        _check_kept(inventory, settings, findings)
    _check_lock(inventory, findings)


def _check_current(inventory: Inventory, findings: Findings) -> bool:
    """Whether there is a history at all to look at."""
    key, newest = keys.pointer(inventory.collection), inventory.newest
    if not inventory.writes:
        children = [manifest for manifest in inventory.versions.manifests.values() if manifest.parent is not None]
        if children:
            last = max(children, key=lambda manifest: manifest.token)
            findings.error(
                "pointer-missing",
                key,
                f"There is no pointer and no history of one, though {last.version} was made from {last.parent}.",
                f"Write the body '{keys.version(inventory.collection, last.parent or last.version)}', "
                "or the newest version's if it was promoted; never start the collection anew.",
            )
        return False
    current = inventory.writes[-1]
    back = _RESTORE.format(version=newest) if newest else "Bring back an earlier version of the object."
    if current.entry.is_delete_marker:
        findings.error(
            "pointer-missing",
            key,
            f"The pointer was deleted at {iso(current.entry.last_modified)}; it named {newest}.",
            "Remove its delete marker in the versioned bucket; never start the collection anew over it.",
        )
    elif current.version is None:
        findings.error("pointer-damaged", key, current.fault, back)
    else:
        if newest is not None and token_of(current.version) < token_of(newest):
            findings.error(
                "pointer-moved-back",
                key,
                f"It names {current.version} since {iso(current.entry.last_modified)}, but {newest} was current "
                "before: what was merged in between is no longer served, and its deltas are gone.",
                f"{back} To go back on purpose: `siltstone rollback`.",
            )
        if current.version not in inventory.versions.folders or not _has_manifest(inventory, current.version):
            findings.error(
                "pointer-dangling",
                key,
                f"It names {current.version}, which has no manifest: readers can't open it.",
                "Remove the delete markers in that version's prefix, or roll back to another version.",
            )
    return True


def _check_past(inventory: Inventory, findings: Findings) -> None:
    """Marks that hands have left: bodies that are none, deletions, steps back, the same version twice."""
    key = keys.pointer(inventory.collection)
    for write in inventory.writes[:-1]:
        if write.version is None:
            what = "deleted" if write.entry.is_delete_marker else f"damaged ({write.fault})"
            _touched(findings, key, f"The pointer was {what} at {iso(write.entry.last_modified)}, and written again.")
    for before, after in _steps(inventory):
        if token_of(after.version or "") == token_of(before.version or ""):
            _touched(findings, key, f"{after.version} was written twice, again at {iso(after.entry.last_modified)}.")
        elif token_of(after.version or "") < token_of(before.version or "") and after is not inventory.writes[-1]:
            _touched(
                findings,
                key,
                f"The pointer was moved back from {before.version} to {after.version} at "
                f"{iso(after.entry.last_modified)}, and has moved on since.",
            )


def _check_parents(inventory: Inventory, findings: Findings) -> None:
    """A run pins what is current and promotes over just that: of each step forward the child knows its parent."""
    key = keys.pointer(inventory.collection)
    named = {write.version for write in inventory.writes}
    for before, after in _steps(inventory):
        manifest = inventory.versions.manifests.get(after.version or "")
        forward = token_of(after.version or "") > token_of(before.version or "")
        if manifest is not None and forward and manifest.parent != before.version:
            findings.error(
                "pointer-forked",
                key,
                f"{after.version} was promoted over {before.version}, but was made from {manifest.parent}: "
                "what came between is not in it.",
                f"Look which deltas {before.version} names in its manifest, and bring those back in the delta bucket.",
            )
    for version, manifest in inventory.versions.manifests.items():
        if manifest.parent is not None and manifest.parent not in named:
            findings.error(
                "parent-wrong",
                keys.manifest(inventory.collection, version),
                f"Its parent {manifest.parent} was never current: the pointer's history does not name it.",
                "Either the manifest or the pointer's history was tampered with. Compare with an earlier backup.",
            )


def _check_kept(inventory: Inventory, settings: CollectionSettings | None, findings: Findings) -> None:
    """Versions that are gone although retention would have kept them, and pins of versions that are not there."""
    for version in sorted(inventory.versions.pins):
        if not _has_manifest(inventory, version):
            findings.warning(
                "version-removed",
                keys.pins(inventory.collection) + version,
                f"{version} is pinned and does not exist.",
                "Remove the pin, or the delete markers in that version's prefix.",
            )
    if settings is None:
        return
    retention = settings.retention
    promoted = list(dict.fromkeys(write.version for write in inventory.writes if write.version))
    superseded = dict(zip(promoted, [inventory.promoted_at(later) for later in promoted[1:]], strict=False))
    keep_seconds = max(retention.keep_seconds, retention.grace_seconds)
    for place, version in enumerate(promoted[:-1]):
        if _has_manifest(inventory, version) or inventory.was_purged(keys.manifest(inventory.collection, version)):
            continue
        recent = len(promoted) - 1 - place <= retention.keep_at_least
        if recent or inventory.date - (superseded[version] or 0) < keep_seconds:
            findings.warning(
                "version-removed",
                keys.version(inventory.collection, version),
                "It was current and is gone, though retention keeps it still. (A setting that was raised lately "
                "does not bring back what went before.)",
                "Remove the delete markers in its prefix, the manifest's last.",
            )


def _check_lock(inventory: Inventory, findings: Findings) -> None:
    newest = inventory.newest
    token = inventory.lease.token if inventory.lease is not None else 0
    if newest is not None and token < token_of(newest):
        findings.warning(
            "lock-behind",
            lock.lock_id(inventory.collection),
            f"The lock's token is {token}, the pointer's {token_of(newest)}: the table was restored or made anew.",
            "Nothing: the next run raises it.",
        )


def _steps(inventory: Inventory) -> list[tuple[PointerWrite, PointerWrite]]:
    """Each write that named a version, with the one before."""
    return list(pairwise(write for write in inventory.writes if write.version is not None))


def _has_manifest(inventory: Inventory, version: str) -> bool:
    """Also a manifest that can't be read is there: that is a finding of its own."""
    folder = inventory.versions.folders.get(version)
    return folder is not None and keys.MANIFEST_FILE in folder.objects


def _touched(findings: Findings, key: str, what: str) -> None:
    findings.warning("pointer-touched", key, what, "Nothing, if this was you; else find out who may write there.")
