"""Every S3 key and prefix of the product, built in one place.

Prefixes always end in ``/``: ``deltas/line/`` must never match ``deltas/lines/``.
"""

from __future__ import annotations

import re

from siltstone.errors import InvalidInput

_COLLECTION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]")
_SHARD = re.compile(r"^(.+)\.s(\d\d)$")

SOURCES = "sources/"
DELTAS = "deltas/"
LEGACY_CHROMA_DELTAS = "delta/"
QUARANTINE = "quarantine/"
BATCHES = "batches/"
SNAPSHOTS = "snapshots/"
STAGING = "staging/"
ALIASES = "aliases/"
PURGED = "purged/"
PAUSED = "paused/"

DELTA_FILE = "embeddings.parquet"
LEGACY_DELTA_FILE = "embeddings.json.gz"
MANIFEST_FILE = "manifest.json"

# Of a path that becomes one on a disk. A key may be longer.
MAX_DEPTH = 16  # Chroma makes one folder
MAX_NAME_BYTES = 255


def check_collection(name: str) -> str:
    """Return ``name`` if Chroma takes it (3 to 512 of ``[a-zA-Z0-9._-]``), else raise `InvalidInput`."""
    if not _COLLECTION.fullmatch(name) or ".." in name:
        raise InvalidInput(
            f"The collection name {name[:80]!r} is not usable.",
            remedy="Use 3 to 512 of a-z, A-Z, 0-9, '.', '_', '-', starting and ending with a letter or digit.",
        )
    return name


def shard(collection: str, index: int) -> str:
    """Name of a shard, a physical collection of its own: ``lines.s00``."""
    return f"{collection}.s{index:02d}"


def split_shard(name: str) -> tuple[str, int | None]:
    """Inverse of `shard`: ``("lines", 0)``; a name that is no shard's comes back with ``None``."""
    match = _SHARD.match(name)
    return (match[1], int(match[2])) if match else (name, None)


def deltas(collection: str) -> str:
    """Prefix of a collection's pending deltas."""
    return f"{DELTAS}{collection}/"


def delta(collection: str, delta_id: str) -> str:
    """Key of one delta."""
    return f"{DELTAS}{collection}/{delta_id}/{DELTA_FILE}"


def quarantine(collection: str, delta_id: str) -> str:
    """Prefix under which a delta that can't be used is kept, with its ``reason.json``."""
    return f"{QUARANTINE}{collection}/{delta_id}/"


def batch_attempt(batch_id: str, attempt: int) -> str:
    """Prefix of what was sent and received for one attempt of a batch."""
    return f"{BATCHES}{batch_id}/attempt-{attempt}/"


def source(kind: str, source_id: str) -> str:
    """Key of a source's body. ``source_id`` must already be safe as a path component."""
    return f"{SOURCES}{kind}/{source_id}.json"


def versions(collection: str) -> str:
    """Prefix of all of a collection's versions (and of ``latest/``)."""
    return f"{SNAPSHOTS}{collection}/"


def version(collection: str, version_id: str) -> str:
    """Prefix of one version: also the body of the pointer."""
    return f"{SNAPSHOTS}{collection}/{version_id}/"


def manifest(collection: str, version_id: str) -> str:
    """Key of a version's manifest. A version without one does not exist."""
    return f"{version(collection, version_id)}{MANIFEST_FILE}"


def pointer(collection: str) -> str:
    """Key of the pointer: the only commit point of a collection."""
    return f"{SNAPSHOTS}{collection}/latest/pointer.txt"


def alias(name: str) -> str:
    """Key of an alias, in the snapshot bucket: the name of a collection."""
    return f"{ALIASES}{name}.txt"


def pause(collection: str | None) -> str:
    """Key of the small object that pauses a collection, or all of them: no collection's name starts with ``_``."""
    return f"{PAUSED}{'_all' if collection is None else collection}.json"


def pins(collection: str) -> str:
    """Prefix of the small objects that name the versions that retention must keep."""
    return f"{SNAPSHOTS}{collection}/pins/"


def removals(collection: str) -> str:
    """Prefix of the small objects that name the versions that retention is about to remove."""
    return f"{SNAPSHOTS}{collection}/removing/"


def staging(collection: str, run_id: str, state: str, attempt: str) -> str:
    """Prefix of the scratch files of one attempt of one state of one run."""
    return f"{STAGING}{collection}/{run_id}/{state}/{attempt}/"


def purged(source_hash: str) -> str:
    """Key of what is remembered of a source that was forgotten, in the delta bucket: ``source_hash`` of its id."""
    return f"{PURGED}{source_hash}.json"
