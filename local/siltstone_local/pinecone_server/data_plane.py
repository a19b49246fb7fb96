"""The routes of one index, below ``/index/NAME``: vectors and namespaces in, Pinecone's answers out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from siltstone_local.pinecone_server import checks
from siltstone_local.pinecone_server.api_error import ApiError
from siltstone_local.pinecone_server.checks import as_object, id_of, ids_of, namespace_of, whole
from siltstone_local.pinecone_server.filters import compile_filter
from siltstone_local.pinecone_server.indexes import IndexSpec
from siltstone_local.pinecone_server.search import Searcher
from siltstone_local.pinecone_server.store import Store, Vector

Answer = dict[str, Any]
_Handler = Callable[[Request, IndexSpec, bytes], Answer]
_NO_NAMESPACE = "Namespace not found"


def answer(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


class DataPlane:
    """The handlers. They touch the disk and count: each runs in a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._searcher = Searcher(store)

    def routes(self) -> list[Route]:
        return [
            self._route("/vectors/upsert", "POST", self.upsert),
            self._route("/vectors/fetch", "GET", self.fetch),
            self._route("/vectors/fetch_by_metadata", "POST", self.fetch_by_metadata),
            self._route("/vectors/list", "GET", self.list_ids),
            self._route("/vectors/update", "POST", self.update),
            self._route("/vectors/delete", "POST", self.delete),
            self._route("/query", "POST", self.query),
            self._route("/describe_index_stats", "POST", self.stats),
            self._route("/describe_index_stats", "GET", self.stats),
            self._route("/namespaces", "GET", self.list_namespaces),
            self._route("/namespaces", "POST", self.create_namespace),
            self._route("/namespaces/{namespace:path}", "GET", self.describe_namespace),
            self._route("/namespaces/{namespace:path}", "DELETE", self.delete_namespace),
        ]

    def _route(self, path: str, method: str, handler: _Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            body = await request.body()

            def work() -> Response:
                spec = self._store.index(request.path_params["index"])
                if spec is None:
                    raise ApiError(404, f"Index {request.path_params['index']} not found")
                return answer(handler(request, spec, body))

            return await run_in_threadpool(work)

        typed: Callable[[Request], Awaitable[Response]] = endpoint
        return Route(f"/index/{{index}}{path}", typed, methods=[method])

    # Vectors --------------------------------------------------------------------------------------
    def upsert(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        asked = as_object(body)
        namespace = namespace_of(asked.get("namespace"))
        vectors = checks.vectors_of(asked.get("vectors"), spec)
        self._store.put(spec.name, namespace, vectors)
        return {"upsertedCount": len(vectors)}

    def fetch(self, request: Request, spec: IndexSpec, _: bytes) -> Answer:
        ids = ids_of(request.query_params.getlist("ids"))
        namespace = namespace_of(request.query_params.get("namespace"))
        found = self._store.get(spec.name, namespace, ids)
        vectors = {vector.id: shown(vector) for vector in found}
        return {"vectors": vectors, "namespace": namespace, "usage": {"readUnits": max(1, len(ids) // 10)}}

    def fetch_by_metadata(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        asked = as_object(body)
        if not asked.get("filter"):
            raise ApiError(400, "Empty filter provided for fetch by metadata request")
        namespace, matches = namespace_of(asked.get("namespace")), compile_filter(asked["filter"])
        limit = whole("limit", asked.get("limit", checks.MAX_LIST), checks.MAX_TOP_K)
        after = _decoded(asked.get("paginationToken"))
        found = [v for v in self._store.all(spec.name, namespace) if v.id > after and matches(v.metadata or {})]
        page = found[:limit]
        vectors = {vector.id: shown(vector) for vector in page}
        whole_page: Answer = {"vectors": vectors, "namespace": namespace, "usage": {"readUnits": 1}}
        return _small(whole_page | _next(page[-1].id if len(found) > limit else None))

    def list_ids(self, request: Request, spec: IndexSpec, _: bytes) -> Answer:
        if spec.pod_based:
            raise ApiError(400, "The list operation is supported only for serverless indexes")
        asked = request.query_params
        limit = whole("limit", asked.get("limit") or checks.MAX_LIST, checks.MAX_LIST)
        namespace, prefix = namespace_of(asked.get("namespace")), asked.get("prefix", "")
        after = _decoded(asked.get("paginationToken"))
        ids = self._store.list_ids(spec.name, namespace, prefix=prefix, after=after, limit=limit + 1)
        vectors = [{"id": id_} for id_ in ids[:limit]]
        page: Answer = {"vectors": vectors, "namespace": namespace, "usage": {"readUnits": 1}}
        return page | _next(ids[limit - 1] if len(ids) > limit else None)

    def update(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        asked = as_object(body)
        namespace = namespace_of(asked.get("namespace"))
        change = checks.metadata_of(asked.get("setMetadata")) or {}
        if asked.get("filter") is not None:
            if asked.get("values") or asked.get("sparseValues"):
                raise ApiError(400, "Update by metadata request does not support updating vector values")
            matches = compile_filter(asked["filter"])
            found = [vector for vector in self._store.all(spec.name, namespace) if matches(vector.metadata or {})]
            if found and not asked.get("dryRun"):
                self._store.put(spec.name, namespace, [_with_metadata(vector, change) for vector in found])
            return {"matchedRecords": len(found)}
        dense, sparse = asked.get("values"), checks.sparse_of(asked.get("sparseValues"))
        id_ = id_of(asked.get("id"))
        for vector in self._store.get(spec.name, namespace, [id_]):  # one that does not exist is no error
            values = checks.dense_of(dense, spec, of=id_) if dense else vector.dense
            changed = replace(vector, dense=values, sparse=sparse or vector.sparse)
            self._store.put(spec.name, namespace, [_with_metadata(changed, change)])
        return {}

    def delete(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        asked = as_object(body)
        namespace = namespace_of(asked.get("namespace"))
        ids, all_, filter_ = asked.get("ids"), asked.get("deleteAll", False), asked.get("filter")
        if not ids and not all_ and filter_ is None:
            raise ApiError(400, "Invalid request: one of ids, deleteAll or filter is needed")
        if all_ and (ids or filter_ is not None):
            raise ApiError(400, f"No {'explicit IDs' if ids else 'filter'} allowed when delete_all=true")
        matches = None if filter_ is None else compile_filter(filter_)
        if self._store.state(spec.name, namespace) is None:
            raise ApiError(404, _NO_NAMESPACE)
        if all_:
            self._store.delete_all(spec.name, namespace)
        elif matches is not None:
            found = [v.id for v in self._store.all(spec.name, namespace) if matches(v.metadata or {})]
            self._store.delete(spec.name, namespace, found)
        else:
            self._store.delete(spec.name, namespace, ids_of(ids))
        return {}

    def query(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        asked = as_object(body)
        namespace = namespace_of(asked.get("namespace"))
        top_k = whole("topK", asked.get("topK"), checks.MAX_TOP_K)
        matches = compile_filter(asked["filter"]) if asked.get("filter") else None
        dense, sparse = asked.get("vector"), checks.sparse_of(asked.get("sparseVector"))
        empty: Answer = {"matches": [], "namespace": namespace, "usage": {"readUnits": 1}}
        if asked.get("id"):
            if dense or sparse:
                raise ApiError(400, "Cannot provide both 'ID' and 'vector' at the same time")
            found = self._store.get(spec.name, namespace, [id_of(asked["id"])])
            if not found:
                return empty
            values, sparse = found[0].dense if spec.dimension else None, found[0].sparse
            sparse = sparse if spec.metric == "dotproduct" else None
        else:
            if sparse and spec.metric != "dotproduct":
                only = "only indexes that are sparse or using dotproduct metric are supported"
                raise ApiError(400, f"Index configuration does not support sparse values - {only}")
            if not dense and not sparse:
                raise ApiError(400, "Query vector is missing: give 'vector', 'sparseVector' or 'id'")
            values = checks.dense_of(dense or [], spec, needed=spec.dimension is not None)
        place, dense = (spec.name, namespace), values if spec.dimension else None
        best = self._searcher.nearest(place, spec.metric, dense=dense, sparse=sparse, top_k=top_k, matches=matches)
        with_values, with_metadata = asked.get("includeValues", False), asked.get("includeMetadata", False)
        empty["matches"] = [
            {"score": score, **shown(vector, values=with_values, metadata=with_metadata)} for vector, score in best
        ]
        return _small(empty)

    # Around ---------------------------------------------------------------------------------------
    def stats(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        asked = as_object(body)
        counts = self._store.namespaces(spec.name)
        if asked.get("filter"):
            if not spec.pod_based:
                raise ApiError(
                    400, "Serverless and Starter indexes do not support describing index stats with metadata filtering"
                )
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

    def list_namespaces(self, request: Request, spec: IndexSpec, _: bytes) -> Answer:
        asked = request.query_params
        limit = whole("limit", asked.get("limit") or checks.MAX_LIST, checks.MAX_LIST)
        prefix, after = asked.get("prefix", ""), _decoded(asked.get("paginationToken"))
        counts = {name: n for name, n in self._store.namespaces(spec.name).items() if name.startswith(prefix)}
        names = [name for name in counts if name > after]
        page = [_namespace(name, counts[name]) for name in names[:limit]]
        found: Answer = {"namespaces": page, "total_count": len(counts)}
        return found | _next(names[limit - 1] if len(names) > limit else None)

    def create_namespace(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        name = namespace_of(as_object(body).get("name"))
        if self._store.state(spec.name, name) is not None:
            raise ApiError(409, f"Namespace {name} already exists")
        self._store.add_namespace(spec.name, name)
        return _namespace(name, 0)

    def describe_namespace(self, request: Request, spec: IndexSpec, _: bytes) -> Answer:
        name = namespace_of(request.path_params["namespace"])
        counts = self._store.namespaces(spec.name)
        if name not in counts:
            raise ApiError(404, _NO_NAMESPACE)
        return _namespace(name, counts[name])

    def delete_namespace(self, request: Request, spec: IndexSpec, _: bytes) -> Answer:
        name = namespace_of(request.path_params["namespace"])
        if self._store.state(spec.name, name) is None:
            raise ApiError(404, _NO_NAMESPACE)
        self._store.delete_namespace(spec.name, name)
        return {}


def shown(vector: Vector, *, values: bool = True, metadata: bool = True) -> Answer:
    """A vector in an answer. What it does not have is left out."""
    found: Answer = {"id": vector.id, "values": vector.dense if values else []}
    if values and vector.sparse is not None:
        found["sparseValues"] = vector.sparse
    if metadata and vector.metadata is not None:
        found["metadata"] = vector.metadata
    return found


def _namespace(name: str, count: int) -> Answer:
    return {"name": name, "record_count": str(count)}  # a 64-bit integer: a string in protobuf's JSON


def _with_metadata(vector: Vector, change: Answer) -> Vector:
    return replace(vector, metadata={**(vector.metadata or {}), **change}) if change else vector


def _next(last: str | None) -> Answer:
    if last is None:
        return {}
    return {"pagination": {"next": base64.urlsafe_b64encode(orjson.dumps({"after": last})).decode()}}


def _decoded(token: object) -> str:
    if not token:
        return ""
    try:
        return orjson.loads(base64.urlsafe_b64decode(str(token)))["after"]
    except (ValueError, TypeError, KeyError, binascii.Error):
        raise ApiError(400, "Invalid pagination token") from None


def _small(value: Answer) -> Answer:
    size = len(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))
    if size > checks.MAX_RESULT_BYTES:
        advice = "choose a lower top_k, or leave out values and metadata"
        raise ApiError(400, f"The result of {size} bytes exceeds the limit of {checks.MAX_RESULT_BYTES}: {advice}")
    return value
