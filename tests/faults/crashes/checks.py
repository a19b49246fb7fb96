"""What must hold after any crash: each check names what it found."""

from __future__ import annotations

import hashlib
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from siltstone import keys
from siltstone.compaction import lock
from siltstone.compaction.documents import Manifest
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.version import Version
from siltstone.stores import Stores

from tests.faults.crashes.house import House
from tests.faults.crashes.waves import Row, Truth


def check_readers(house: House, truth: Truth) -> None:
    """A strong read sees every delta that was ever written, merged or not: at any moment."""
    _same(ask(house, truth.collection), truth.rows, "a strong read")


def check_converged(house: House, truth: Truth) -> None:
    """Everything is merged, nothing is lost, and nothing but garbage is left over."""
    stores, collection = house.stores, truth.collection
    manifest = check_history(house, truth)
    assert manifest is not None
    with tempfile.TemporaryDirectory() as folder:
        download(stores, manifest, Path(folder))
        _same(open_plainly(Path(folder), collection), truth.rows, f"version {manifest.version}")
    check_readers(house, truth)
    pending = [found.key for found in stores.deltas.list(keys.deltas(collection))]
    assert not pending, f"still pending: {pending}"
    quarantined = {key for key in truth.bad if _in_quarantine(stores, collection, key)}
    assert quarantined == set(truth.bad), f"not in quarantine: {set(truth.bad) - quarantined}"
    lease = stores.leases.read(lock.lock_id(collection))
    assert lease is not None
    assert lease.owner is None, f"the lock is still held by {lease.owner}"


def check_history(house: House, truth: Truth) -> Manifest | None:
    """What must hold at any moment, also in the middle of a run. Returns the current version's manifest."""
    stores, collection = house.stores, truth.collection
    history = pointer_history(house, collection)
    tokens = [Version.parse(version).token for version in history]
    assert tokens == sorted(set(tokens)), f"tokens do not grow: {history}"
    manifests = all_manifests(house, collection)
    promoted = [manifests[version] for version in history]
    for before, manifest in zip([None, *history], promoted, strict=False):
        # Each was made from the one before it: two promotions from one pinned pointer would show here.
        assert manifest.parent == before, f"{manifest.version} was made from {manifest.parent}, promoted over {before}"
    _check_deltas(house, truth, promoted)
    _check_files(stores, collection)
    current = read_pointer(stores.snapshots, collection).version
    assert current == (history[-1] if history else None)
    return manifests[current] if current else None


def _check_deltas(house: House, truth: Truth, promoted: list[Manifest]) -> None:
    """A delta is there, or in a version that was promoted."""
    there = {found.key for found in house.stores.deltas.list(keys.deltas(truth.collection))}
    contained = {delta.key for manifest in promoted for delta in manifest.applied}
    lost = set(truth.deltas) - there - contained
    assert not lost, f"deleted, and in no promoted version: {lost}"


def _check_files(stores: Stores, collection: str) -> None:
    """Of every version with a manifest each file is there with its size and hash, and nothing else."""
    found: dict[str, dict[str, int]] = {}
    for each in stores.snapshots.list(keys.versions(collection)):
        version, _, path = each.key.removeprefix(keys.versions(collection)).partition("/")
        found.setdefault(version, {})[path] = each.size
    found.pop("latest", None)
    for version, files in found.items():
        if keys.MANIFEST_FILE not in files:
            continue  # garbage of a run that failed: no version
        manifest = Manifest.model_validate_json(stores.snapshots.get(keys.manifest(collection, version)).body)
        named = {file.path: file.size for file in manifest.files}
        assert {path: size for path, size in files.items() if path != keys.MANIFEST_FILE} == named, version
        for file in manifest.files:
            body = stores.snapshots.get(keys.version(collection, version) + file.path).body
            assert hashlib.sha256(body).hexdigest() == file.sha256, f"{version}/{file.path}"


def pointer_history(house: House, collection: str) -> list[str]:
    """Every version that was ever promoted, in order."""
    client, bucket, key = house.deployment.client("s3"), house.stores.snapshots.bucket, keys.pointer(collection)
    reply = client.list_object_versions(Bucket=bucket, Prefix=key)
    assert not reply.get("DeleteMarkers"), "the pointer was deleted"
    bodies = [_body(client, bucket, key, found["VersionId"]).decode() for found in reply.get("Versions", [])]
    versions = [body.removeprefix(keys.versions(collection)).removesuffix("/") for body in bodies]
    return versions[::-1]  # the newest comes first


def all_manifests(house: House, collection: str) -> dict[str, Manifest]:
    """Of every version that ever had one, also where retention removed it."""
    client, bucket = house.deployment.client("s3"), house.stores.snapshots.bucket
    found: dict[str, Manifest] = {}
    pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=keys.versions(collection))
    for each in [each for page in pages for each in page.get("Versions", [])]:
        if each["Key"].endswith(f"/{keys.MANIFEST_FILE}"):
            manifest = Manifest.model_validate_json(_body(client, bucket, each["Key"], each["VersionId"]))
            assert manifest.version not in found, f"{manifest.version} has two manifests"
            found[manifest.version] = manifest
    return found


@lru_cache(maxsize=10_000)
def _body(client: Any, bucket: str, key: str, version_id: str) -> bytes:
    """One version of an object: it never changes."""
    return client.get_object(Bucket=bucket, Key=key, VersionId=version_id)["Body"].read()


def download(stores: Stores, manifest: Manifest, folder: Path) -> None:
    """Copy a version as any S3 client would."""
    for file in manifest.files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(stores.snapshots.get(keys.version(manifest.collection, manifest.version) + file.path).body)


def open_plainly(folder: Path, collection: str) -> dict[str, Row]:
    """What plain Chroma finds in a directory."""
    with chromadb.PersistentClient(str(folder)) as client:
        found = client.get_collection(collection).get(include=["embeddings", "documents", "metadatas"])
    return _rows(found)


def ask(house: House, collection: str, consistency: str = "strong") -> dict[str, Row]:
    """All rows, through the query function."""
    answer = house.invoke(
        "query",
        {
            "collection_name": collection,
            "operation": "get",
            "limit": 1_000,
            "include": ["embeddings", "documents", "metadatas"],
            "consistency": consistency,
        },
    )
    return _rows(answer["results"])


def _rows(found: Any) -> dict[str, Row]:
    columns = zip(found["ids"], found["embeddings"], found["documents"], found["metadatas"], strict=True)
    return {
        row: (np.asarray(vector, np.float32), document, metadata or {}) for row, vector, document, metadata in columns
    }


def _same(found: dict[str, Row], expected: dict[str, Row], what: str) -> None:
    assert found.keys() == expected.keys(), (
        f"{what} lacks {sorted(expected.keys() - found.keys())} and has {sorted(found.keys() - expected.keys())}"
    )
    for row, (vector, document, metadata) in expected.items():
        assert found[row][1:] == (document, metadata), f"{what}: {row} is {found[row][1:]}"
        # Under cosine Chroma may keep a normalized vector: the direction is what counts.
        np.testing.assert_allclose(_unit(found[row][0]), _unit(vector), atol=1e-5, err_msg=f"{what}: {row}")


def _unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def _in_quarantine(stores: Stores, collection: str, key: str) -> bool:
    prefix = keys.quarantine(collection, key.split("/")[-2])
    names = {found.key.removeprefix(prefix) for found in stores.deltas.list(prefix)}
    return names == {keys.DELTA_FILE, "reason.json"}
