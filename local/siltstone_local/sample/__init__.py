"""Forty invented receipts and twenty notes, made by :mod:`siltstone_local.sample.generate`. All names are made up."""

from __future__ import annotations

from pathlib import Path

RECEIPTS = Path(__file__).parent / "receipts.jsonl"
TEXTS = Path(__file__).parent / "texts.jsonl"
