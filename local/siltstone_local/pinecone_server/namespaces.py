"""Namespaces, and how much is in them."""

from __future__ import annotations

from starlette.requests import Request

from siltstone_local.pinecone_server.answers import Answer, last_seen, next_page
from siltstone_local.pinecone_server.api_error import ApiError
from siltstone_local.pinecone_server.checks import MAX_LIST, as_object, namespace_of, refuse_pods, whole
from siltstone_local.pinecone_server.filters import compile_filter
from siltstone_local.pinecone_server.indexes import IndexSpec
from siltstone_local.pinecone_server.store import Store

_NO_NAMESPACE = "Namespace not found"


class Namespaces:
    """The handlers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def stats(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        asked = as_object(body)
        counts = self._store.namespaces(spec.name)
        if asked.get("filter"):
            if not spec.pod_based:
                raise ApiError(400, "Serverless indexes do not support describing index stats with metadata filtering")
            matches = compile_filter(asked["filter"])
            counts = {
                name: sum(matches(vector.metadata or {}) for vector in self._store.all(spec.name, name))
                for name in counts
            }
        return {
            "namespaces": {name: {"vectorCount": count} for name, count in counts.items()},
            "dimension": spec.dimension,
            "indexFullness": 0.0,
            "totalVectorCount": sum(counts.values()),
            "metric": spec.metric,
            "vectorType": "sparse" if spec.dimension is None else "dense",
        }

    def list(self, request: Request, spec: IndexSpec, _: bytes) -> Answer:
        refuse_pods(spec, "list namespaces")
        asked = request.query_params
        limit = whole("limit", asked.get("limit") or MAX_LIST, MAX_LIST)
        prefix, after = asked.get("prefix", ""), last_seen(asked.get("paginationToken"))
        counts = {name: n for name, n in self._store.namespaces(spec.name).items() if name.startswith(prefix)}
        names = [name for name in counts if name > after]
        page = [_shown(name, counts[name]) for name in names[:limit]]
        found: Answer = {"namespaces": page, "total_count": len(counts)}
        return found | next_page(names[limit - 1] if len(names) > limit else None)

    def create(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        refuse_pods(spec, "create namespace")
        name = namespace_of(as_object(body).get("name"))
        if self._store.state(spec.name, name) is not None:
            raise ApiError(409, f"Namespace {name} already exists")
        self._store.add_namespace(spec.name, name)
        return _shown(name, 0)

    def describe(self, request: Request, spec: IndexSpec, _: bytes) -> Answer:
        refuse_pods(spec, "describe namespace")
        name = namespace_of(request.path_params["namespace"])
        counts = self._store.namespaces(spec.name)
        if name not in counts:
            raise ApiError(404, _NO_NAMESPACE)
        return _shown(name, counts[name])

    def delete(self, request: Request, spec: IndexSpec, _: bytes) -> Answer:
        refuse_pods(spec, "delete namespace")
        name = namespace_of(request.path_params["namespace"])
        if self._store.state(spec.name, name) is None:
            raise ApiError(404, _NO_NAMESPACE)
        self._store.delete_namespace(spec.name, name)
        return {}


def _shown(name: str, count: int) -> Answer:
    return {"name": name, "record_count": str(count)}  # a 64-bit integer: a string in protobuf's JSON
