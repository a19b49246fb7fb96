"""Small hand-made receipts, and what the tests do with a file's problems."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipt import Receipt

IMAGE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def line(line_id: int = 1, text: str = "Oat latte 4.40", **other: Any) -> dict[str, Any]:
    return {"line_id": line_id, "text": text, "x": 0.1, "y": 0.05 * line_id, "width": 0.5, "height": 0.04, **other}


def receipt(**other: Any) -> dict[str, Any]:
    return {"image_id": IMAGE, "receipt_id": 1, "merchant_name": "Copper Kettle", "lines": [line(1), line(2)], **other}


def write_jsonl(path: Path, items: Iterable[object]) -> Path:
    rows = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


def split(items: Iterable[Receipt | SourceProblem]) -> tuple[list[Receipt], list[SourceProblem]]:
    good: list[Receipt] = []
    bad: list[SourceProblem] = []
    for item in items:
        if isinstance(item, SourceProblem):
            bad.append(item)
        else:
            good.append(item)
    return good, bad
