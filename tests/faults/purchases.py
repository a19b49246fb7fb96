"""What was paid for, as the provider tells it: nothing twice, whatever the day."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping

import numpy as np
import openai
from siltstone.stores.ledger import BatchItem

from tests.unit.embedding.house import DIMENSION


def check_attempts(client: openai.OpenAI, mine: Mapping[str, BatchItem]) -> None:
    """The provider ran each attempt of a batch once at most, and of a complete batch each."""
    bought: Counter[tuple[str, str]] = Counter()
    for found in client.batches.list(limit=100):
        labels = found.metadata or {}
        if labels.get("batch_id") in mine and found.status != "failed":
            bought[labels["batch_id"], labels["attempt"]] += 1
    assert set(bought.values()) <= {1}, bought
    assert set(bought) >= {
        (batch_id, str(attempt.attempt))
        for batch_id, batch in mine.items()
        for attempt in batch.attempts
        if batch.status == "COMPLETE"
    }


def check_inputs(client: openai.OpenAI, mine: Mapping[str, BatchItem], loaded: Counter[tuple[str, str]]) -> int:
    """No input was answered well by more batches than it was loaded, whatever attempts and plans they were of.

    ``loaded``: how often each (record id, input) was. What went and came back while its batch was open is bought again.
    How many answers there were.
    """
    answered: Counter[tuple[str, str]] = Counter()
    for batch in client.batches.list(limit=100):
        if batch.output_file_id is None or (batch.metadata or {}).get("batch_id") not in mine:
            continue
        requests = [json.loads(line) for line in client.files.content(batch.input_file_id).text.splitlines()]
        inputs = {request["custom_id"]: request["body"]["input"] for request in requests}
        lines = client.files.content(batch.output_file_id).text.splitlines()
        answered.update((row, inputs[row]) for row in {_well_answered(line) for line in lines} & inputs.keys())
    assert answered <= loaded, answered - loaded
    return answered.total()


def _well_answered(line: str) -> str | None:
    """Whose answer this line is, if it can be used."""
    try:
        row = json.loads(line)
        embedding = row["response"]["body"]["data"][0]["embedding"]
    except (ValueError, LookupError, TypeError):
        return None
    vector = np.frombuffer(base64.b64decode(embedding), "<f4") if isinstance(embedding, str) else np.array(embedding)
    usable = vector.shape == (DIMENSION,) and np.isfinite(vector).all() and vector.any()
    return row["custom_id"] if usable else None
