"""Every version with a manifest: its files, byte by byte, and what its manifest says of itself."""

from __future__ import annotations

import hashlib

from siltstone import keys
from siltstone.clock import iso
from siltstone.compaction.documents import Manifest, VersionFile
from siltstone.compaction.retention import RUN_SECONDS
from siltstone.errors import ObjectNotFound, PreconditionFailed
from siltstone.parallel import in_parallel
from siltstone.stores.objects import ObjectStore
from siltstone.verify.findings import Findings
from siltstone.verify.inventory import Folder, Inventory, token_of
from siltstone.verify.progress import Progress

_BRING_BACK = "Bring back the object's earlier version in the bucket, or roll back to another version."


def check_manifests(inventory: Inventory, findings: Findings) -> None:
    """What can be told without reading any file; and folders that are no versions."""
    manifests = inventory.versions.manifests
    for version, manifest in manifests.items():
        _check_manifest(inventory, manifest, findings)
        parent = manifests.get(manifest.parent or "")
        if parent is not None and parent.token < manifest.token:
            _check_against_parent(manifest, parent, findings)
        source = manifests.get(manifest.restored_from or "")
        if source is not None and (source.files, source.counts.after) != (manifest.files, manifest.counts.after):
            _wrong(findings, manifest, f"It restores {source.version}, but names other files or rows.")
        _check_rewritten(inventory.collection, inventory.versions.folders[version], findings)
    for folder in inventory.versions.folders.values():
        _check_unfinished(inventory, folder, findings)
    for version in manifests.keys() - {write.version for write in inventory.writes}:
        findings.info(
            "version-unpromoted",
            keys.version(inventory.collection, version),
            "It was published and never promoted: a run is on its way, or failed after its upload.",
            "Nothing: retention removes it once the pointer has passed it.",
        )


def check_files(
    inventory: Inventory, chosen: list[Manifest], snapshots: ObjectStore, findings: Findings, progress: Progress
) -> set[str]:
    """Hash every file of the versions that were chosen. Returns those versions that are whole."""
    findings.count(versions=len(chosen))
    tasks = [(manifest, file) for manifest in chosen for file in manifest.files]
    progress.begin("files", sum(file.size for _, file in tasks), "bytes")

    def check(task: tuple[Manifest, VersionFile]) -> str:
        fault = _fault(inventory, task[0], task[1], snapshots, findings=findings, progress=progress)
        return fault and f"{task[0].version}/{task[1].path} {fault}"

    broken = {task[0].version for task, fault in zip(tasks, in_parallel(check, tasks), strict=True) if fault}
    for manifest in chosen:
        folder = inventory.versions.folders[manifest.version]
        for path in sorted(folder.objects.keys() - {file.path for file in manifest.files} - {keys.MANIFEST_FILE}):
            findings.error(
                "file-unnamed",
                folder.objects[path].key,
                "The manifest does not name it: whoever copies the whole prefix opens something else.",
                "Delete it; no reader of this product fetches it.",
            )
    return {manifest.version for manifest in chosen} - broken


def _fault(
    inventory: Inventory,
    manifest: Manifest,
    file: VersionFile,
    snapshots: ObjectStore,
    *,
    findings: Findings,
    progress: Progress,
) -> str:
    """What is wrong with a file, or nothing. A version that retention removes meanwhile is no finding."""
    key = keys.version(manifest.collection, manifest.version) + file.path
    found = inventory.versions.folders[manifest.version].objects.get(file.path)
    try:
        if found is not None and found.size != file.size:
            fault = f"has {found.size} bytes instead of {file.size}"
        else:
            digest = hashlib.sha256()
            for piece in snapshots.stream(key, if_match=found and found.etag):
                digest.update(piece)
                progress.advance(len(piece))
                findings.count(bytes=len(piece))
            fault = "" if digest.hexdigest() == file.sha256 else "has another SHA-256 than its manifest says"
        findings.count(objects=1)
    except (ObjectNotFound, PreconditionFailed):
        if snapshots.head(keys.manifest(manifest.collection, manifest.version)) is None:
            return "went with its version"
        findings.error("file-missing", key, "The manifest names it, and it is gone or was replaced.", _BRING_BACK)
        return "is missing"
    if fault:
        when = f", modified {iso(found.last_modified)}" if found is not None else ""
        findings.error("file-damaged", key, f"It {fault}{when}.", _BRING_BACK)
    return fault


def _check_manifest(inventory: Inventory, manifest: Manifest, findings: Findings) -> None:
    if manifest.token != token_of(manifest.version):
        _wrong(findings, manifest, f"It has token {manifest.token}, its version another.")
    if manifest.parent is not None and token_of(manifest.parent) >= manifest.token:
        findings.error(
            "parent-wrong",
            keys.manifest(inventory.collection, manifest.version),
            f"It names {manifest.parent} as its parent, which is not older.",
            _BRING_BACK,
        )
    paths = [file.path for file in manifest.files]
    if len(set(paths)) < len(paths) or keys.MANIFEST_FILE in paths:
        _wrong(findings, manifest, "Two of its files have one path, or one is called manifest.json.")
    if len({applied.key for applied in manifest.applied}) < len(manifest.applied):
        _wrong(findings, manifest, "It names a delta twice.")
    failed = [check.name for check in manifest.checks if not check.passed]
    if failed or not manifest.checks:
        findings.error(
            "check-failed",
            keys.manifest(inventory.collection, manifest.version),
            f"Failed before publication: {', '.join(failed)}." if failed else "It records no check at all.",
            "It must not have been promoted. Roll back to another version and report this.",
        )
    counts = manifest.counts
    if counts.after != counts.before + counts.inserted - counts.deleted or min(counts.model_dump().values()) < 0:
        _miscounted(findings, manifest, f"{counts.before} + {counts.inserted} - {counts.deleted} is not {counts.after}")


def _check_against_parent(manifest: Manifest, parent: Manifest, findings: Findings) -> None:
    if manifest.settings != parent.settings:
        names = sorted(
            name
            for name in {*manifest.settings, *parent.settings}
            if manifest.settings.get(name) != parent.settings.get(name)
        )
        findings.error(
            "settings-changed",
            keys.manifest(manifest.collection, manifest.version),
            f"{', '.join(names)} differ from those of its parent {parent.version}: they never change under a pointer.",
            "Roll back to the parent, and build another collection for the new settings.",
        )
    if manifest.reason == "compaction" and manifest.counts.before != parent.counts.after:
        _miscounted(
            findings, manifest, f"it began with {manifest.counts.before} rows, its parent has {parent.counts.after}"
        )


def _check_rewritten(collection: str, folder: Folder, findings: Findings) -> None:
    """Manifests are written create-only, once. Another body in the key's history is somebody's hand."""
    bodies = list(dict.fromkeys(entry.etag for entry in folder.manifests if not entry.is_delete_marker))
    if len(bodies) > 1:
        first = [entry for entry in folder.manifests if not entry.is_delete_marker][-1]
        findings.error(
            "manifest-rewritten",
            keys.manifest(collection, folder.version),
            f"It was written once, at {iso(first.last_modified)}, and again with other contents at "
            f"{iso(folder.manifests[0].last_modified)}.",
            f"Bring back the object's first version, {first.version_id}.",
        )


def _check_unfinished(inventory: Inventory, folder: Folder, findings: Findings) -> None:
    """A folder without a manifest is no version: a run is on its way or failed, or a retirement stopped half-way."""
    if not folder.objects or keys.MANIFEST_FILE in folder.objects:
        return
    age = inventory.date - max(entry.last_modified for entry in folder.objects.values())
    findings.info(
        "version-unfinished",
        keys.version(inventory.collection, folder.version),
        f"It has no manifest and {len(folder.objects)} files, the newest {_hours(age)} old: "
        + ("a run may be on its way." if age < RUN_SECONDS else "what a run or a retirement left behind."),
        "Nothing: a later compaction removes it once it is a day old.",
    )


def _hours(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{max(0, seconds) // 60} min"


def _wrong(findings: Findings, manifest: Manifest, what: str) -> None:
    findings.error("manifest-wrong", keys.manifest(manifest.collection, manifest.version), what, _BRING_BACK)


def _miscounted(findings: Findings, manifest: Manifest, what: str) -> None:
    findings.error(
        "count-wrong",
        keys.manifest(manifest.collection, manifest.version),
        f"Its row counts don't add up: {what}.",
        "Verify it with --deep; if its content is right, only the manifest was tampered with.",
    )
