"""The routes of one index, below ``/index/NAME``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from siltstone_local.pinecone_server.answers import Answer, answer
from siltstone_local.pinecone_server.api_error import ApiError
from siltstone_local.pinecone_server.gate import DATA_PLANE
from siltstone_local.pinecone_server.indexes import IndexSpec
from siltstone_local.pinecone_server.namespaces import Namespaces
from siltstone_local.pinecone_server.store import Store
from siltstone_local.pinecone_server.vectors import Vectors

_Handler = Callable[[Request, IndexSpec, bytes], Answer]


def data_plane(store: Store) -> list[Route]:
    """The handlers touch the disk and count: each runs in a thread."""
    vectors, namespaces = Vectors(store), Namespaces(store)
    handlers: list[tuple[str, str, _Handler]] = [
        ("POST", "/vectors/upsert", vectors.upsert),
        ("GET", "/vectors/fetch", vectors.fetch),
        ("POST", "/vectors/fetch_by_metadata", vectors.fetch_by_metadata),
        ("GET", "/vectors/list", vectors.list_ids),
        ("POST", "/vectors/update", vectors.update),
        ("POST", "/vectors/delete", vectors.delete),
        ("POST", "/query", vectors.query),
        ("POST", "/describe_index_stats", namespaces.stats),
        ("GET", "/describe_index_stats", namespaces.stats),
        ("GET", "/namespaces", namespaces.list),
        ("POST", "/namespaces", namespaces.create),
        ("GET", "/namespaces/{namespace:path}", namespaces.describe),
        ("DELETE", "/namespaces/{namespace:path}", namespaces.delete),
    ]
    return [_route(store, *handler) for handler in handlers]


def _route(store: Store, method: str, path: str, handler: _Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        name = request.path_params["index"]

        def work() -> Response:
            spec = store.index(name)
            if spec is None:
                raise ApiError(404, f"Index {name} not found")
            return answer(handler(request, spec, body))

        return await run_in_threadpool(work)

    typed: Callable[[Request], Awaitable[Response]] = endpoint
    return Route(f"{DATA_PLANE}{{index}}{path}", typed, methods=[method])
