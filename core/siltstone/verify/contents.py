"""With ``deep``: each version rebuilt from what it was made of, and compared with what plain Chroma finds in it.

What a version was made of is its parent and the deltas that its own run took, from the delta bucket's history where
they are retired; for a rollback it is the version that was restored. Everything happens in private folders.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ulid import ULID

from siltstone import keys
from siltstone.compaction.documents import Manifest
from siltstone.errors import BadDelta, ManifestDamaged, ObjectNotFound, SchemaTooNew, SnapshotDamaged, UnknownVersion
from siltstone.settings import CollectionSettings
from siltstone.snapshots.chroma import ChromaStore, persistent_client, translated
from siltstone.snapshots.restore import restore_version
from siltstone.stores import Stores
from siltstone.stores.vectors import CollectionSpec, OpenStore, VectorStore
from siltstone.verify.comparison import Difference, compare
from siltstone.verify.findings import Code, Findings
from siltstone.verify.inventory import Inventory
from siltstone.verify.operations import Operations
from siltstone.verify.past_deltas import read_past_delta
from siltstone.verify.progress import Progress

_SHOWN = 5  # ids in a finding
_LOOK = "Roll back to a version without this finding, and report it: a version is its base and its deltas."


class _Unprovable(Exception):
    """Why a version can't be rebuilt."""


@dataclass
class _Opened:
    """A version on the local disk, open."""

    manifest: Manifest
    store: VectorStore
    folder: Path

    def close(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def open_plain(folder: Path, spec: CollectionSpec) -> ChromaStore:
    """Open a copy as anybody would, with a plain ``chromadb.PersistentClient``. Raises `SnapshotDamaged`."""
    with translated(folder, refused=SnapshotDamaged):
        client = persistent_client(folder)
        try:
            names = [found.name for found in client.list_collections()]
            if names == [spec.name]:
                return ChromaStore(folder, client, client.get_collection(spec.name, embedding_function=None))
        except BaseException:
            client.close()
            raise
    client.close()
    raise SnapshotDamaged(f"It holds the collections {names}, not {spec.name!r} alone.")


class Contents:
    """Rebuilds versions from the oldest to the newest; each stays open as the base of the next. Use it as a context."""

    def __init__(
        self, inventory: Inventory, stores: Stores, folder: Path, open_store: OpenStore, findings: Findings
    ) -> None:
        self._inventory = inventory
        self._stores = stores
        self._folder = folder
        self._open_store = open_store
        self._findings = findings
        self._before: _Opened | None = None

    def __enter__(self) -> Contents:
        return self

    def __exit__(self, *_: object) -> None:
        self._keep(None)

    def check(self, chosen: list[Manifest], progress: Progress) -> None:
        """``chosen``: versions whose files are as recorded. Nothing else may be opened: damage can crash Chroma."""
        progress.begin("contents", sum(each.counts.after for each in chosen), "rows")
        for manifest in sorted(chosen, key=lambda each: each.token):
            key = keys.version(manifest.collection, manifest.version)
            try:
                opened = self._open(manifest)
                try:
                    self._check_opened(opened)
                    self._rebuild(opened, progress)
                finally:
                    self._keep(opened)
            except UnknownVersion:
                continue  # retention removed it meanwhile
            except _Unprovable as reason:
                self._findings.info("content-unprovable", key, f"Its rows can't be rebuilt: {reason}")
            except (SnapshotDamaged, ManifestDamaged) as error:
                self._findings.error("snapshot-unreadable", key, error.message, _LOOK)

    def _check_opened(self, opened: _Opened) -> None:
        """Rows and settings as the manifest says, asked of the directory itself."""
        manifest, store = opened.manifest, opened.store
        key = keys.manifest(manifest.collection, manifest.version)
        counted, listed = store.count(), len(store.ids())
        if not counted == listed == manifest.counts.after:
            self._findings.error(
                "count-wrong", key, f"It says {manifest.counts.after} rows; there are {counted}, {listed} ids.", _LOOK
            )
        own, spec = store.spec(), CollectionSpec.of(manifest.collection, manifest.settings)
        if (own.space, own.hnsw) != (spec.space, spec.hnsw) or own.dimension not in {0, spec.dimension}:
            self._findings.error("settings-changed", key, f"The snapshot has {own}, the manifest says {spec}.", _LOOK)

    def _rebuild(self, opened: _Opened, progress: Progress) -> None:
        manifest = opened.manifest
        if manifest.reason == "takeover":
            raise _Unprovable("they came with a directory that was taken over; its files are as they were then.")
        with self._base(manifest) as base, self._operations(manifest) as operations:
            difference = compare(opened.store, base, operations, progress)
        self._findings.count(versions_rebuilt=1, rows_compared=difference.compared)
        self._report(manifest, difference)

    @contextmanager
    def _base(self, manifest: Manifest) -> Generator[VectorStore | None]:
        source = manifest.restored_from if manifest.reason == "rollback" else manifest.parent
        if source is None:
            yield None
        elif self._before is not None and self._before.manifest.version == source:
            yield self._before.store
        elif source not in self._inventory.versions.manifests:
            raise _Unprovable(f"{source}, which it was made from, is past retention.")
        else:
            try:
                base = self._open(self._inventory.versions.manifests[source])
            except (SnapshotDamaged, UnknownVersion) as error:
                raise _Unprovable(f"{source}, which it was made from, can't be opened: {error.message}") from error
            try:
                yield base.store
            finally:
                base.close()

    @contextmanager
    def _operations(self, manifest: Manifest) -> Generator[Operations]:
        """Of the deltas that the version's own run took, in order: those it names beyond what its parent names."""
        folder = self._folder / f"deltas-{ULID()}"
        folder.mkdir()
        operations = Operations(folder)
        parent = self._inventory.versions.manifests.get(manifest.parent or "")
        inherited = set(parent.applied) if parent is not None else set[object]()
        taken = [] if manifest.reason == "rollback" else [each for each in manifest.applied if each not in inherited]
        try:
            for applied in taken:
                try:
                    rows = read_past_delta(
                        self._stores.deltas,
                        self._inventory.deltas,
                        applied,
                        collection=manifest.collection,
                        settings=CollectionSettings.model_validate(manifest.settings),
                        folder=folder,
                    )
                except (ObjectNotFound, BadDelta, SchemaTooNew) as error:
                    raise _Unprovable(error.message) from error
                operations.add(rows)
            yield operations
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _report(self, manifest: Manifest, found: Difference) -> None:
        key = keys.version(manifest.collection, manifest.version)
        wrong: list[tuple[Code, str, list[str]]] = [
            ("row-unexpected", "rows are neither in its base nor in its deltas", found.unexpected),
            ("row-missing", "rows of its base or its deltas are not in it", found.missing),
            ("row-wrong", "rows have another vector than they should", found.vectors),
            ("row-wrong", "rows have another document than they should", found.documents),
            ("row-wrong", "rows have other metadata than they should", found.metadatas),
        ]
        for code, what, ids in wrong:
            if ids:
                shown = ", ".join(repr(row_id[:120]) for row_id in ids[:_SHOWN]) + (", ..." if ids[_SHOWN:] else "")
                self._findings.error(code, key, f"{len(ids)} {what}: {shown}.", _LOOK)
        counts = manifest.counts
        if manifest.reason == "compaction" and (counts.inserted, counts.deleted) != (found.inserted, found.deleted):
            self._findings.error(
                "count-wrong",
                keys.manifest(manifest.collection, manifest.version),
                f"It says {counts.inserted} rows inserted and {counts.deleted} deleted; its deltas make that "
                f"{found.inserted} and {found.deleted}.",
                _LOOK,
            )

    def _open(self, manifest: Manifest) -> _Opened:
        """A private copy: opening a directory changes it. Its hashes are checked again on the way."""
        folder = self._folder / f"version-{ULID()}"
        restore_version(self._stores.snapshots, manifest, folder)
        try:
            spec = CollectionSpec.of(manifest.collection, manifest.settings)
            return _Opened(manifest, self._open_store(folder, spec), folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _keep(self, opened: _Opened | None) -> None:
        before, self._before = self._before, opened
        if before is not None:
            before.close()
