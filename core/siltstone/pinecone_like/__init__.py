"""Pinecone's calls over this store, for programs that were written against Pinecone's client.

``from siltstone.pinecone_like import Pinecone`` in the place of ``from pinecone import Pinecone`` is the line that
changes. Pinecone's own package is not needed.
"""

from siltstone.pinecone_like.connecting import Pinecone
from siltstone.pinecone_like.index import Index
from siltstone.pinecone_like.shapes import ScoredVector, SparseValues, Vector

__all__ = ["Index", "Pinecone", "ScoredVector", "SparseValues", "Vector"]
