"""One spelling of a JSON value, so that the same content has the same hash everywhere."""

from __future__ import annotations

import hashlib
import json


def canonical_json(value: object) -> bytes:
    """UTF-8, keys sorted, no blanks. Raises `ValueError` for numbers that JSON does not have."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256_hex(body: bytes) -> str:
    """SHA-256, lower-case hex."""
    return hashlib.sha256(body).hexdigest()
