# ruff: noqa: T201
"""An application of Pinecone's client: receipts' words are written, looked for, changed and deleted.

It prints what it gets. It knows nothing of what answers it.
"""

import os
import random

from pinecone import Pinecone

DIMENSION = 32
MERCHANTS = ("SANYU", "AEON", "KEDAI")


def connect():
    return Pinecone(api_key=os.environ["PINECONE_API_KEY"]).Index(host=os.environ["PINECONE_HOST"])


def embedding(text):
    numbers = random.Random(text)
    return [numbers.uniform(-1, 1) for _ in range(DIMENSION)]


def write(index):
    words = [
        {
            "id": f"IMAGE#1#RECEIPT#00001#LINE#{n:05d}",
            "values": embedding(f"word {n}"),
            "metadata": {
                "text": f"word {n}",
                "line_id": n,
                "confidence": n / 40,
                "merchant_name": MERCHANTS[n % 3],
                "edge": n % 5 == 0,
                **({"labels": ["TOTAL", "DATE"][: n % 3]} if n % 4 else {}),
                **({"model": "by hand"} if n % 7 == 0 else {}),
            },
        }
        for n in range(40)
    ]
    print(index.upsert(vectors=words[:25], namespace="words").upserted_count)
    answer = index.upsert(vectors=words[25:], namespace="words", batch_size=4, show_progress=False)
    print(answer.upserted_count, answer["total_batch_count"], answer.has_errors)
    notes = [(f"note-{n}", embedding(f"note {n}")) for n in range(6)]
    notes += [(f"note-{n}", embedding(f"note {n}"), {"n": n, "gone": None}) for n in range(6, 12)]
    print(index.upsert(vectors=notes).upserted_count)
    index.update(id="note-1", set_metadata={"text": "changed", "n": 1})
    index.update(id="note-7", values=embedding("new values"), set_metadata={"later": True})
    index.update(id="note-404", set_metadata={"n": 1})
    index.delete(ids=["note-3", "note-404"])
    index.delete(filter={"line_id": {"$gte": 38}}, namespace="words")


FILTERS = (
    None,
    {"merchant_name": "SANYU"},
    {"merchant_name": {"$ne": "SANYU"}, "line_id": {"$lt": 20.5}},
    {"confidence": {"$gt": 0.25, "$lte": 0.75}},
    {"labels": "TOTAL"},
    {"labels": {"$ne": "TOTAL"}},
    {"labels": {"$nin": ["DATE", "OTHER"]}},
    {"labels": {"$in": ["DATE", "OTHER"]}},
    {"labels": {"$exists": False}},
    {"model": {"$exists": True}},
    {"$or": [{"edge": {"$eq": True}}, {"$and": [{"line_id": {"$gte": 30}}, {"merchant_name": {"$in": ["AEON"]}}]}]},
    {"line_id": 4},
    {"line_id": "4"},
    {"edge": 1},
    {"nothing": "here"},
)


def read(index):
    stats = index.describe_index_stats()
    print(stats.dimension, stats.metric, stats.total_vector_count)
    print({name: summary.vector_count for name, summary in sorted(stats["namespaces"].items())})
    for filters in FILTERS:
        show(index.query(vector=embedding("asked"), top_k=5, filter=filters, include_metadata=True, namespace="words"))
        show(index.query(vector=[0.0] * DIMENSION, top_k=3, filter=filters, namespace="words"), scores=False)
    show(index.query(id="note-7", top_k=3, include_values=True, include_metadata=True))
    show(index.query(id="note-404", top_k=3))
    show(index.query(vector=embedding("asked"), top_k=10_000, namespace="words"))
    show(index.query(vector=embedding("asked"), top_k=3, namespace="never-written"))
    fetched = index.fetch(ids=["note-0", "note-1", "note-3", "note-6", "note-7"])
    for name, vector in sorted(fetched.vectors.items()):
        values = [round(each, 5) for each in vector.values]
        print(name, vector.id, values, sorted((vector["metadata"] or {}).items()), name_of(fetched))
    ids, token = [], None
    while True:
        page = index.list_paginated(prefix="note-", limit=4, pagination_token=token)
        ids.append([item.id for item in page.vectors])
        if page.pagination is None:
            break
        token = page.pagination.next
    print(ids)
    print([len(page) for page in index.list(namespace="words", limit=15)])
    print([item["id"] for page in index.list(prefix="note-1") for item in page])
    index.delete(delete_all=True, namespace="words")
    print(index.describe_index_stats().total_vector_count)


def name_of(answer):
    return "" if answer.namespace == "__default__" else answer["namespace"]  # both stand for the unnamed one


def show(answer, *, scores=True):
    print(name_of(answer), len(answer["matches"]))
    if not scores:  # the vector of zeros: what comes is what passes the filter
        return
    for match in answer.matches:
        values = [round(each, 5) for each in match.values]
        print(" ", match["id"], round(match.score, 4) + 0.0, sorted((match.metadata or {}).items()), values)


if __name__ == "__main__":
    the_index = connect()
    write(the_index)
    read(the_index)
