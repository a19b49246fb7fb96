"""Siltstone as a LangChain vector store: ``pip install siltstone[langchain]``."""

from siltstone_langchain.store import SiltstoneVectorStore

__all__ = ["SiltstoneVectorStore"]
