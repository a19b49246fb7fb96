"""``Client``: a stage, or a copy of a version, with the shape of a Chroma client."""

from __future__ import annotations

from types import TracebackType

from siltstone.clients.collection import Collection, Consistency
from siltstone.clients.transport import Transport
from siltstone.clients.writing import Writer
from siltstone.keys import check_collection


class Client:
    """Made by `siltstone.connect`. A context manager; safe for several threads."""

    def __init__(self, transport: Transport, writer: Writer) -> None:
        self._transport = transport
        self._writer = writer

    def collection(self, name: str, *, consistency: Consistency = "snapshot", version: str | None = None) -> Collection:
        """A collection by its name or an alias; nothing is asked yet. Raises `InvalidInput` for an unusable name."""
        return Collection(
            check_collection(name), self._transport, self._writer, consistency=consistency, version=version
        )

    def collections(self) -> list[str]:
        """Names that the stage's settings have, without patterns. Raises `ReadOnlyClient`, `BadSettings` where this
        client knows no settings.
        """
        return self._writer.collections()

    def close(self) -> None:
        """Release connections and local files. Calling it again does nothing."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
