"""Which state changes what, in order: what a run of each machine sends out, as the dry runs of `test_effects` see it.

A request that is added to a state has to be added here, and is then one more place where its process is killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.crashes.switchboard import Boundary

Effects = dict[str, list[str]]

_STAGED = ["put staged file"] * 6  # chroma.sqlite3 and the index's five
_LOCK = "update lock"

# Four waves of `waves.Truth` in: parts remain after the first turn of Merge, and a rebuild is due.
COMPACTION: Effects = {
    "list_collections": [],
    "acquire_lock": ["put lock"],
    "download": [
        _LOCK,
        "delete delta",  # one that came back after its retirement
        _LOCK,
        "copy quarantined delta",
        "put quarantined reason",
        "delete delta",
        "put quarantined reason",  # again, once its header could be looked at
        *["put staged file"] * 3,  # parts
        _LOCK,
        "put staged plan.json",
    ],
    "merge": [*[_LOCK] * 13, *_STAGED, "put staged work.json", *[_LOCK] * 3, *_STAGED, "put staged work.json"],
    "renew_lock": [_LOCK],
    "upload": [_LOCK, *["copy version file"] * 6, "put manifest"],
    "promote_pointer": [_LOCK, _LOCK, "put pointer"],
    "retire": [
        _LOCK,
        *["delete delta"] * 4,
        "put removal mark",
        "delete manifest",
        "DeleteObjects",
        "delete removal mark",
    ],
    "release_lock": [_LOCK],
}

# Two waves of `batches.Texts` in: a delete is owed, one row gets no answer and one is refused.
EMBEDDING: Effects = {
    "plan_batches": [
        "put delta",  # the deletes that were owed
        "SendMessage",
        *["put source"] * 2,
        *["put source"] * 5,  # claims
        "put attempt-1 records.parquet",
        "put attempt-1 requests.jsonl",
        "put ledger",
    ],
    "submit_batch": ["POST /files", "update ledger", "POST /batches", "update ledger"] * 2,
    "poll_batch": ["update ledger"],  # a sign of life, at each look
    "create_delta": [
        "update ledger",  # a sign of life
        "put attempt-1 output.jsonl",
        "put attempt-1 errors.jsonl",
        "put attempt-1 outcome.parquet",
        "put delta",
        "update ledger",
        "update ledger",
        "put attempt-2 output.jsonl",
        "put attempt-2 outcome.parquet",
        "put delta",
        "update ledger",
    ],
    "record_outcome": [
        "put attempt-1 rejected.jsonl",
        "put attempt-2 records.parquet",
        "put attempt-2 requests.jsonl",
        *["put source"] * 5,
        "update ledger",
        "SendMessage",
        "put source",
        "update ledger",
        "SendMessage",
    ],
}

EMBED_NOW: Effects = {
    "embed_now": [
        *["put source body"] * 2,
        *["put source"] * 2,
        *["put source"] * 2,  # claims
        "POST /embeddings",
        "put delta",
        "SendMessage",
        *["put source"] * 2,
    ]
}

STARTER: Effects = {"start_compaction": ["StartExecution"]}


def boundaries(effects: Effects) -> Iterator[Boundary]:
    """Before and after each of them."""
    for state, wanted in effects.items():
        seen: Counter[str] = Counter()
        for effect in wanted:
            seen[effect] += 1
            yield Boundary(state, effect, seen[effect], "before")
            yield Boundary(state, effect, seen[effect], "after")
