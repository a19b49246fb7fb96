"""The routes of the control plane: indexes are made, listed, described, configured and deleted."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from siltstone_local.pinecone_server.answers import answer
from siltstone_local.pinecone_server.api_error import ControlError
from siltstone_local.pinecone_server.gate import DATA_PLANE
from siltstone_local.pinecone_server.indexes import IndexSpec, new_index
from siltstone_local.pinecone_server.store import Store


class ControlPlane:
    """The handlers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("/indexes", self.list, methods=["GET"]),
            Route("/indexes", self.create, methods=["POST"]),
            Route("/indexes/{index}", self.describe, methods=["GET"]),
            Route("/indexes/{index}", self.configure, methods=["PATCH"]),
            Route("/indexes/{index}", self.delete, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        specs = await run_in_threadpool(self._store.indexes)
        return answer({"indexes": [_described(request, spec) for spec in specs]})

    async def create(self, request: Request) -> Response:
        spec = new_index(await _json(request))
        if await run_in_threadpool(self._store.index, spec.name) is not None:
            raise ControlError(409, "Resource already exists")
        await run_in_threadpool(self._store.put_index, spec)
        return answer(_described(request, spec), 201)

    async def describe(self, request: Request) -> Response:
        return answer(_described(request, await self._spec(request)))

    async def configure(self, request: Request) -> Response:
        spec, asked = await self._spec(request), await _json(request)
        changes = {key: asked[key] for key in ("deletion_protection", "tags") if asked.get(key) is not None}
        spec = spec.model_copy(update=changes)
        await run_in_threadpool(self._store.put_index, spec)
        return answer(_described(request, spec))

    async def delete(self, request: Request) -> Response:
        spec = await self._spec(request)
        if spec.deletion_protection == "enabled":
            raise ControlError(403, "Deletion protection is enabled for this index. Disable it before you delete.")
        await run_in_threadpool(self._store.delete_index, spec.name)
        return Response(status_code=202)

    async def _spec(self, request: Request) -> IndexSpec:
        name = request.path_params["index"]
        spec = await run_in_threadpool(self._store.index, name)
        if spec is None:
            raise ControlError(404, f"Resource {name} not found")
        return spec


def _described(request: Request, spec: IndexSpec) -> dict[str, Any]:
    return spec.describe(f"{request.base_url.scheme}://{request.base_url.netloc}{DATA_PLANE}{spec.name}")


async def _json(request: Request) -> Any:
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise ControlError(400, f"Invalid JSON: {error}") from None
