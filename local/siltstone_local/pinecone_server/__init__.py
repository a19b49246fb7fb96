"""A Pinecone to test against: offline, true to the documented API, and wrong only when told to be.

It speaks the API (2026-07) that the client ``pinecone`` 10 sends, so that the real client runs against it unchanged::

    with PineconeServer(folder) as server:  # or PineconeThread(folder): the same, without a process of its own
        seeded = server.fill("receipts")  # 20,000 vectors of 64 dimensions: 12,000 `words`, 7,000 `lines`, 1,000 in ""
        client = pinecone.Pinecone(api_key="any", host=server.base_url)
        index = client.Index("receipts")  # or client.Index(host=server.host("receipts"))
        assert index.describe_index_stats().total_vector_count == len(seeded)
        server.set_faults(Faults(requests_per_second=50.0))  # 429 with Retry-After beyond
        server.kill()  # SIGKILL; all that was answered is on disk
        server.start()  # the same address, the same content

From a shell: ``python -m siltstone_local.pinecone_server --folder STATE --port 5080 [--fill receipts]``.

What is written is there at once; Pinecone needs a moment. Full text, records with text (integrated embedding), backups,
imports and gRPC are not served.

What the client does by itself, measured here: it sends no URL of more than 65,536 characters (``httpx.InvalidURL``,
which is no error of Pinecone's: 1,000 long ids in one fetch); it tries four times after 429, 5xx and broken
connections, but not when an answer breaks off half way; and after some fifty failures at one host name, whatever the
port, it stops to retry in the whole process (``pinecone._internal.http_client.get_budget_registry()._reset()``).
"""

from siltstone_local.pinecone_server.faults import Faults, ReplyFault
from siltstone_local.pinecone_server.handle import PineconeServer, PineconeThread
from siltstone_local.pinecone_server.indexes import IndexSpec
from siltstone_local.pinecone_server.seed import Seeded
from siltstone_local.pinecone_server.store import Vector

__all__ = ["Faults", "IndexSpec", "PineconeServer", "PineconeThread", "ReplyFault", "Seeded", "Vector"]
