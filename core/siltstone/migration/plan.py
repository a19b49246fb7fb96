"""Which namespace goes into which collection, and whether it can: judged before anything is copied."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.pointer import read_pointer
from siltstone.deltas.shards import physical
from siltstone.errors import BadSettings, IndexRefused, InvalidInput, SettingsMismatch, UnknownCollection
from siltstone.migration.source import DEFAULT_NAMESPACE, IndexShape
from siltstone.query.fixed import as_published
from siltstone.settings import CollectionSettings, Space
from siltstone.stores import Stores

SPACES: Mapping[str, Space] = {"cosine": "cosine", "euclidean": "l2", "dotproduct": "ip"}
"""A metric of Pinecone, and the space that ranks in the same way."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.IGNORECASE)


@dataclass(frozen=True)
class Move:
    """One namespace on its way. ``vectors``: how many the index says there are. ``settings``: of the collection."""

    namespace: str
    collection: str
    vectors: int
    settings: CollectionSettings


def plan_moves(
    shape: IndexShape,
    stores: Stores,
    *,
    mapping: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    metric: str | None = None,
) -> list[Move]:
    """Every namespace (or ``only`` these), into the collection of ``mapping``, else into the one of its own name.

    ``metric``: where the index does not say which. Raises `BadSettings` for a namespace that is not there, and for two
    that would share a collection, where equal ids would overwrite each other; `UnknownCollection`; `SettingsMismatch`
    where metric or dimension differ from the collection's.
    """
    chosen = {_named(name): collection for name, collection in (mapping or {}).items()}
    wanted = [_named(name) for name in only] or sorted(shape.namespaces)
    for name in (*wanted, *chosen):
        if name not in shape.namespaces:
            there = ", ".join(map(repr, sorted(shape.namespaces)[:20])) or "none"
            raise BadSettings(f"The index has no namespace {name!r}; it has {there}.", remedy="Name one of these.")
    moves: list[Move] = []
    for name in wanted:
        collection = chosen.get(name, name)
        taken = next((move for move in moves if move.collection == collection), None)
        if taken is not None:
            raise BadSettings(
                f"The namespaces {taken.namespace!r} and {name!r} would both go into {collection}.",
                remedy="Give each its own collection: equal ids would overwrite each other.",
            )
        settings = _settings(name, collection, stores)
        _check(shape, metric, collection, settings)
        moves.append(Move(name, collection, shape.namespaces[name], settings))
    return moves


def check_name(name: str) -> str:
    """A migration's name becomes part of keys. Raises `BadSettings`."""
    if not _NAME.fullmatch(name):
        raise BadSettings(f"The migration's name {name[:80]!r} is not usable.", remedy="Use 1 to 63 of a-z, 0-9, .-_.")
    return name


def default_name(index: str) -> str:
    """Of a migration that has no name of its own: the same for the same index."""
    return re.sub(r"[^a-z0-9]+", "-", index.lower()).strip("-")[:63] or "pinecone"


def _named(namespace: str) -> str:
    return namespace or DEFAULT_NAMESPACE


def _settings(namespace: str, collection: str, stores: Stores) -> CollectionSettings:
    """As published, where anything is. Raises `UnknownCollection`, with what to do about the namespace."""
    try:
        settings = stores.settings.resolve(collection)
    except (UnknownCollection, InvalidInput) as error:
        raise UnknownCollection(
            f"The namespace {namespace!r} would go into {collection!r}, which no setting names.",
            remedy=f"Say where to: --map {namespace}=COLLECTION; or which ones alone: --namespace NAME.",
        ) from error
    first = physical(collection, settings)[0]
    version = read_pointer(stores.snapshots, first).version
    return as_published(settings, (version and read_manifest(stores.snapshots, first, version)) or None)


def _check(shape: IndexShape, metric: str | None, collection: str, settings: CollectionSettings) -> None:
    if shape.dimension is None:
        raise IndexRefused("The index has no dense vectors.", remedy="A collection can't be made of sparse values.")
    if shape.dimension != settings.dimension:
        raise SettingsMismatch(
            f"The index has {shape.dimension} dimensions, the collection {collection} has {settings.dimension}.",
            remedy="Set the collection's dimension in cdk.json, or choose another collection: --map.",
        )
    if shape.metric and metric and shape.metric != metric:
        raise SettingsMismatch(f"The index's metric is {shape.metric}, not {metric}.", remedy="Leave out --metric.")
    found = shape.metric or metric
    if found is None:
        raise BadSettings("The index does not say what its metric is.", remedy=f"Say it: --metric {'|'.join(SPACES)}.")
    if found not in SPACES:
        raise BadSettings(f"There is no metric {found[:80]!r}.", remedy=f"It is one of {', '.join(SPACES)}.")
    if SPACES[found] != settings.space:
        raise SettingsMismatch(
            f"The index's metric {found} is the space {SPACES[found]!r}; {collection} has {settings.space!r}.",
            remedy="Set the collection's space in cdk.json, or choose another collection: --map. Nothing was copied.",
        )
