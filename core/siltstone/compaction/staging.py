"""Documents and files that pass between states through S3: written create-only, read by reference and checked."""

from __future__ import annotations

import hashlib
import json
from typing import TypeVar

from pydantic import ValidationError

from siltstone.compaction.messages import Message, Ref
from siltstone.errors import ManifestDamaged, ObjectNotFound, PreconditionFailed, SchemaTooNew
from siltstone.stores.objects import ObjectStore

Document = TypeVar("Document", bound=Message)


def parse_document(kind: type[Document], body: bytes, key: str) -> Document:
    """Parse a stored document. Raises `SchemaTooNew` for a newer release's, `ManifestDamaged` for anything else."""
    try:
        raw = json.loads(body)
        if isinstance(raw, dict) and isinstance(raw.get("schema_version"), int) and raw["schema_version"] > 1:
            raise SchemaTooNew(f"{key} has schema version {raw['schema_version']}.", remedy="Upgrade this release.")
        return kind.model_validate(raw)
    except (ValueError, RecursionError, ValidationError) as error:
        raise ManifestDamaged(f"{key} can't be read: {str(error)[:300]}.", remedy="Run `siltstone verify`.") from error


def write_document(store: ObjectStore, key: str, document: Message) -> Ref:
    """Write a document create-only. Running it again with the same content is no error; other content raises."""
    body = document.model_dump_json().encode()
    ref_sha = hashlib.sha256(body).hexdigest()
    try:
        etag = store.put(key, body, create_only=True)
    except PreconditionFailed:
        # A lost reply, or a retry of this state: the same bytes mean that the write happened.
        existing = store.get(key)
        if existing.body != body:
            raise
        etag = existing.info.etag
    return Ref(key=key, etag=etag, sha256=ref_sha)


def read_document(store: ObjectStore, ref: Ref, kind: type[Document]) -> Document:
    """Read what a state named. Raises `ManifestDamaged` if it is gone or not what the reference says."""
    try:
        stored = store.get(ref.key, if_match=ref.etag)
    except (ObjectNotFound, PreconditionFailed) as error:
        raise ManifestDamaged(f"{ref.key} is gone or changed.", remedy="Start a new run.") from error
    if hashlib.sha256(stored.body).hexdigest() != ref.sha256:
        raise ManifestDamaged(f"{ref.key} does not have the recorded SHA-256.", remedy="Start a new run.")
    return parse_document(kind, stored.body, ref.key)
