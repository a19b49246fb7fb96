"""The server's application: both planes behind the gate, and the switches for its faults."""

from __future__ import annotations

from typing import cast

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from siltstone_local.pinecone_server.answers import answer
from siltstone_local.pinecone_server.api_error import ApiError, ControlError, PlainError
from siltstone_local.pinecone_server.control_plane import ControlPlane
from siltstone_local.pinecone_server.data_plane import data_plane
from siltstone_local.pinecone_server.faults import FaultBoard, Faults
from siltstone_local.pinecone_server.gate import Gate, Requests
from siltstone_local.pinecone_server.store import Store


def make_app(store: Store, *, may_die: bool) -> Starlette:
    """The application over ``store``. ``may_die``: a process of its own, which a fault may kill."""
    board, requests = FaultBoard(), Requests()

    async def faults(request: Request) -> Response:
        if request.method == "POST":
            try:
                wanted = Faults.model_validate_json(await request.body())
            except ValidationError as error:
                raise ControlError(400, str(error)) from error
            if not may_die and any(reply.kind == "die" for reply in wanted.replies):
                raise ControlError(400, "This server is a thread: it can't kill itself without all the others.")
            board.set(wanted)
        elif request.method == "DELETE":
            board.set(Faults())
        return Response(board.show().model_dump_json(), media_type="application/json")

    async def ready(_: Request) -> Response:
        return answer({"ready": True})

    async def counted(_: Request) -> Response:
        return answer(requests.show())

    return Starlette(
        routes=[
            Route("/_faults", faults, methods=["GET", "POST", "DELETE"]),
            Route("/_ready", ready, methods=["GET"]),
            Route("/_requests", counted, methods=["GET"]),
            *ControlPlane(store).routes(),
            *data_plane(store),
        ],
        middleware=[Middleware(Gate, board=board, requests=requests)],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
    )


async def _api_error(_: Request, error: Exception) -> Response:
    error = cast(ApiError, error)
    return Response(error.body, error.status, headers=error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    status = cast(HTTPException, error).status_code
    return await _api_error(request, PlainError(status, f"{request.method} {request.url.path}: not served here"))
