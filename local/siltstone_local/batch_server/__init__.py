"""An OpenAI-compatible server for files, batches and embeddings: offline, quick, and wrong only when told to be."""

from siltstone_local.batch_server.faults import BatchFaults, Faults, ReplyFault
from siltstone_local.batch_server.handle import BatchServer

__all__ = ["BatchFaults", "BatchServer", "Faults", "ReplyFault"]
