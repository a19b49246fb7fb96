"""Now or in a batch: by size and price, with thresholds that anybody can read and set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from siltstone.compaction.messages import Message
from siltstone.embedding.preview import Preview


class Thresholds(Message):
    """Up to these, waiting for a batch is not worth what it saves. Both have to hold."""

    records: int = Field(default=1_000, ge=0)
    usd: float = Field(default=0.01, ge=0)  # what the embeddings API would charge


class Choice(Message):
    """``why``: one sentence with the figures that decided."""

    way: Literal["nothing", "now", "batch"]
    why: str
    thresholds: Thresholds


def choose(preview: Preview, thresholds: Thresholds) -> Choice:
    """The way for all that the preview counts. A price that is not known is not taken for a small one."""
    way: Literal["nothing", "now", "batch"] = "batch"
    if not preview.records:
        way, why = "nothing", "Everything is embedded, or in an open batch."
    elif preview.records > thresholds.records:
        why = f"These are more than {thresholds.records:,} records: a batch costs half."
    elif preview.now_usd is None:
        why = "The model's price is not known: a batch costs half of it, whatever it is."
    elif preview.now_usd > thresholds.usd:
        why = f"${preview.now_usd:.4f} now is more than ${thresholds.usd:.4f}: a batch costs half."
    else:
        way = "now"
        why = (
            f"{preview.records:,} records are at most {thresholds.records:,}, and ${preview.now_usd:.4f} now "
            f"at most ${thresholds.usd:.4f}: not worth the wait for a batch."
        )
    return Choice(way=way, why=why, thresholds=thresholds)
