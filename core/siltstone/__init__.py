"""Siltstone: receipts in, a searchable vector store out, and no server in between.

The package knows sources, records, batches, deltas, snapshots, compaction and queries. It knows no
Lambda and no CDK; AWS, Chroma and OpenAI are reached through the adapters in :mod:`siltstone.stores`.
"""

__version__ = "0.1.0"
