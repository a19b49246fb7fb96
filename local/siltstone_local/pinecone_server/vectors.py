"""Vectors: upserted, fetched, listed, changed, deleted, queried."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request

from siltstone_local.pinecone_server import checks
from siltstone_local.pinecone_server.answers import Answer, last_seen, next_page, shown, small
from siltstone_local.pinecone_server.api_error import ApiError
from siltstone_local.pinecone_server.checks import as_object, id_of, ids_of, namespace_of, refuse_pods, whole
from siltstone_local.pinecone_server.filters import compile_filter
from siltstone_local.pinecone_server.indexes import IndexSpec
from siltstone_local.pinecone_server.search import Searcher
from siltstone_local.pinecone_server.store import Store, Vector


class Vectors:
    """The handlers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._searcher = Searcher(store)

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
        refuse_pods(spec, "fetch by metadata")
        asked = as_object(body)
        if not asked.get("filter"):
            raise ApiError(400, "Empty filter provided for fetch by metadata request")
        namespace, matches = namespace_of(asked.get("namespace")), compile_filter(asked["filter"])
        limit = whole("limit", asked.get("limit", checks.MAX_LIST), checks.MAX_TOP_K)
        after = last_seen(asked.get("paginationToken"))
        found = [v for v in self._store.all(spec.name, namespace) if v.id > after and matches(v.metadata or {})]
        page = found[:limit]
        vectors = {vector.id: shown(vector) for vector in page}
        whole_page: Answer = {"vectors": vectors, "namespace": namespace, "usage": {"readUnits": 1}}
        return small(whole_page | next_page(page[-1].id if len(found) > limit else None))

    def list_ids(self, request: Request, spec: IndexSpec, _: bytes) -> Answer:
        refuse_pods(spec, "list")
        asked = request.query_params
        limit = whole("limit", asked.get("limit") or checks.MAX_LIST, checks.MAX_LIST)
        namespace, prefix = namespace_of(asked.get("namespace")), asked.get("prefix", "")
        after = last_seen(asked.get("paginationToken"))
        ids = self._store.list_ids(spec.name, namespace, prefix=prefix, after=after, limit=limit + 1)
        vectors = [{"id": id_} for id_ in ids[:limit]]
        page: Answer = {"vectors": vectors, "namespace": namespace, "usage": {"readUnits": 1}}
        return page | next_page(ids[limit - 1] if len(ids) > limit else None)

    def update(self, _: Request, spec: IndexSpec, body: bytes) -> Answer:
        asked = as_object(body)
        namespace = namespace_of(asked.get("namespace"))
        with self._store.transaction():
            if asked.get("filter") is None:
                return self._update_one(asked, spec, namespace)
            if asked.get("values") or asked.get("sparseValues"):
                raise ApiError(400, "Update by metadata request does not support updating vector values")
            matches, change = compile_filter(asked["filter"]), asked.get("setMetadata")
            found = [vector for vector in self._store.all(spec.name, namespace) if matches(vector.metadata or {})]
            if found and not asked.get("dryRun"):
                self._store.put(spec.name, namespace, [_with_metadata(vector, change) for vector in found])
            return {"matchedRecords": len(found)}

    def _update_one(self, asked: Answer, spec: IndexSpec, namespace: str) -> Answer:
        id_, sparse = id_of(asked.get("id")), checks.sparse_of(asked.get("sparseValues"))
        dense = checks.dense_of(asked["values"], spec, of=id_) if asked.get("values") else None
        change = checks.metadata_of(asked.get("setMetadata"))
        for vector in self._store.get(spec.name, namespace, [id_]):  # one that does not exist is no error
            values = vector.dense if dense is None else dense
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
        if filter_ is not None and not filter_:
            raise ApiError(400, "Delete with empty metadata filter is not allowed")
        matches = None if filter_ is None else compile_filter(filter_)
        if self._store.state(spec.name, namespace) is None:
            raise ApiError(404, "Namespace not found")
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
        like = self._stored_query(asked, spec, namespace) if asked.get("id") else _given_query(asked, spec)
        found: list[tuple[Vector, float]] = []
        if like is not None:
            found = self._searcher.nearest((spec.name, namespace), spec, like, top_k=top_k, matches=matches)
        values, metadata = asked.get("includeValues", False), asked.get("includeMetadata", False)
        best = [{"score": score, **shown(vector, values=values, metadata=metadata)} for vector, score in found]
        return small({"matches": best, "namespace": namespace, "usage": {"readUnits": 1}})

    def _stored_query(self, asked: Answer, spec: IndexSpec, namespace: str) -> Vector | None:
        if asked.get("vector") or asked.get("sparseVector"):
            raise ApiError(400, "Cannot provide both 'ID' and 'vector' at the same time")
        for vector in self._store.get(spec.name, namespace, [id_of(asked["id"])]):
            return vector if spec.metric == "dotproduct" else replace(vector, sparse=None)
        return None


def _given_query(asked: Answer, spec: IndexSpec) -> Vector:
    dense, sparse = asked.get("vector"), checks.sparse_of(asked.get("sparseVector"))
    if sparse and spec.metric != "dotproduct":
        only = "only indexes that are sparse or using dotproduct metric are supported"
        raise ApiError(400, f"Index configuration does not support sparse values - {only}")
    if not dense and not sparse:
        raise ApiError(400, "Query vector is missing: give 'vector', 'sparseVector' or 'id'")
    return Vector("", checks.dense_of(dense or [], spec, needed=spec.dimension is not None), sparse)


def _with_metadata(vector: Vector, change: Answer | None) -> Vector:
    return replace(vector, metadata=checks.metadata_of({**(vector.metadata or {}), **change})) if change else vector
