"""A valid one of everything that is read, small."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np

CONTENT = b"content"
_SHA = hashlib.sha256(CONTENT).hexdigest()

LEGACY_DELTA: dict[str, Any] = {
    "ids": ["a", "b", "c"],
    "embeddings": [[0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], [0.5, 0, 0, 0]],
    "metadatas": [{"text": "x", "n": 1, "l": [1.5, 2.5]}, {"line_id": 2}, None],
    "documents": ["x", "y", None],
}

RECEIPTS: list[dict[str, Any]] = [
    {
        "image_id": f"00000000-0000-4000-8000-{number:012d}",
        "receipt_id": 1,
        "merchant_name": "Kiosk",
        "lines": [
            {"line_id": 1, "text": "milk 1.20", "confidence": 0.9, "x": 0.1, "y": 0.1, "width": 0.5, "height": 0.1},
            {"line_id": 2, "text": "total", "confidence": None, "x": 0.1, "y": 0.5, "width": 0.5, "height": 0.1},
        ],
        "words": [
            {"line_id": 1, "word_id": 1, "text": "milk", "x": 0.1, "y": 0.1, "width": 0.2, "height": 0.1},
        ],
    }
    for number in range(3)
]

TEXTS: list[dict[str, Any]] = [
    {"id": f"t{number}", "text": "some text", "metadata": {"a": 1, "b": "x", "c": [1, 2], "d": 1.5, "e": True}}
    for number in range(3)
]

SROIE_ROWS = [
    "72,25,326,25,326,64,72,64,TAN WOON YANN",
    "50,82,440,82,440,121,50,121,BOOK, PAPER, (AB)",
    "1,2,3,2,3,4,1,4,x",
]

_FILE = {"path": "chroma.sqlite3", "size": len(CONTENT), "sha256": _SHA}
_FILES = [_FILE, {**_FILE, "path": "5f1c/data_level0.bin"}, {**_FILE, "path": "5f1c/header.bin"}]
_STAGED = [{**file, "key": f"staging/{file['path']}", "etag": "e"} for file in _FILES]
_COUNTS = {"before": 1, "inserted": 2, "updated": 0, "metadata_only": 0, "unchanged": 0, "deleted": 0, "after": 3}
_FIXED = {"model": "m", "dimension": 4, "space": "cosine", "input_format": "plain-v1", "shards": 1, "hnsw": {}}
_DELTA = {"key": "deltas/lines/1/embeddings.parquet", "etag": "e"}
_CHECKS = [{"name": "count", "passed": True, "detail": ""}]

WORK: dict[str, Any] = {
    "schema_version": 1, "parts_done": 1, "counts": _COUNTS, "dead_slots": 0, "files": _STAGED, "checks": _CHECKS,
}  # fmt: skip

PLAN: dict[str, Any] = {
    "schema_version": 1,
    "collection": "lines",
    "run_id": "run-0",
    "base": {"version": "20260131_235959_00000041", "etag": "e"},
    "settings": _FIXED,
    "parts": [{"file": file, "upserts": 1, "deletes": 0} for file in _STAGED],
    "deltas": [_DELTA],
    "still_listed": [],
    "quarantined": [],
    "more": False,
}

MANIFEST: dict[str, Any] = {
    "schema_version": 1,
    "collection": "lines",
    "version": "20260131_235959_00000042",
    "parent": "20260131_235959_00000041",
    "token": 42,
    "run": "run-0",
    "reason": "compaction",
    "restored_from": None,
    "started_at": "2026-01-31T23:59:59Z",
    "created_at": "2026-01-31T23:59:59Z",
    "libraries": {"chromadb": "1.5.9"},
    "settings": _FIXED,
    "counts": _COUNTS,
    "dead_slots": 0,
    "files": _FILES,
    "applied": [_DELTA],
    "checks": _CHECKS,
}


def _result(number: int, embedding: Any) -> dict[str, Any]:
    body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": embedding}],
            "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}  # fmt: skip
    response = {"status_code": 200, "request_id": "q", "body": body}
    return {"id": f"batch_req_{number}", "custom_id": f"r{number}", "response": response, "error": None}


def _refused(number: int, status: int) -> dict[str, Any]:
    body = {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}
    return {"id": "x", "custom_id": f"r{number}", "response": {"status_code": status, "body": body}, "error": None}


RESULTS: list[dict[str, Any]] = [
    _result(0, base64.b64encode(np.ones(4, "<f4").tobytes()).decode()),
    _result(1, [0.1, 0.2, 0.3, 0.4]),
    _result(2, [1, 2, 3, 4]),
    _refused(3, 400),
    _refused(4, 500),
    {"id": "x", "custom_id": "r5", "response": None, "error": {"code": "batch_expired", "message": "late"}},
]

REQUESTS: list[dict[str, Any]] = [
    {"custom_id": f"r{number}", "method": "POST", "url": "/v1/embeddings",
     "body": {"model": "m", "input": "text", "encoding_format": "base64", "dimensions": 4}}
    for number in range(3)
]  # fmt: skip
