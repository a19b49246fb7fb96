"""Namespaces are collections."""

from __future__ import annotations

from collections.abc import Mapping

from siltstone.clients.client import Client
from siltstone.clients.collection import Collection, Consistency
from siltstone.errors import BadSettings, ReadOnlyClient

DEFAULT = "__default__"
_UNNAMED = (None, "", DEFAULT)


class Namespaces:
    """``names``: the collection of each namespace that is not called like its own; ``default``: of the unnamed one."""

    def __init__(self, client: Client, names: Mapping[str, str], default: str | None, consistency: Consistency) -> None:
        self._client = client
        self._names = {DEFAULT if name in _UNNAMED else name: collection for name, collection in names.items()}
        if default is not None:
            self._names.setdefault(DEFAULT, default)
        self._all_named = bool(names)
        self._consistency: Consistency = consistency

    def collection(self, namespace: str | None, consistency: Consistency | None = None) -> Collection:
        """Raises `BadSettings` where nothing stands for the unnamed one, `InvalidInput` for an unusable name."""
        name = DEFAULT if namespace is None or namespace in _UNNAMED else namespace
        if name == DEFAULT and DEFAULT not in self._names:
            raise BadSettings(
                "No collection stands for the namespace without a name.",
                remedy="Name it: SILTSTONE_COLLECTION, Index(default=...), or the call's namespace.",
            )
        return self._client.collection(self._names.get(name, name), consistency=consistency or self._consistency)

    def known(self) -> list[str]:
        """Those that were given, or else, besides the unnamed one, the collections that the stage's settings name."""
        if self._all_named:
            return list(self._names)
        try:
            stage = self._client.collections()
        except (ReadOnlyClient, BadSettings):  # a copy of one version, or a URL alone: no settings are known
            if not self._names:
                raise
            stage = []
        return [*self._names, *(name for name in stage if name not in self._names.values())]
