"""What every request passes: the API key, and the faults that concern its reply."""

from __future__ import annotations

import asyncio
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siltstone_local.batch_server.api_error import ApiError, provoked
from siltstone_local.batch_server.faults import FaultBoard


class Gate:
    """ASGI middleware around the API. The paths outside ``/v1/`` are the server's own and need no key."""

    def __init__(self, app: ASGIApp, board: FaultBoard) -> None:
        self._app = app
        self._board = board

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        if not _has_key(scope):
            await _drain(receive)
            message = "You didn't provide an API key. Provide one in an Authorization header: 'Bearer KEY'."
            await _refuse(send, ApiError(401, message, code="invalid_api_key"))
            return
        fault = self._board.take_reply(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind == "timeout":
            await _silence(receive, fault.seconds)
            await _hang_up(send)
        elif fault.kind == "lost":
            await self._app(scope, receive, _into_the_void)
            await _hang_up(send)
        else:
            await _drain(receive)
            await _refuse(send, provoked(int(fault.kind)))


def _has_key(scope: Scope) -> bool:
    value = dict(scope["headers"]).get(b"authorization", b"")
    return value.lower().startswith(b"bearer ") and bool(value[7:].strip())


async def _drain(receive: Receive) -> None:
    """Read the body: a client that is still sending would see a broken connection instead of the refusal."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def _refuse(send: Send, error: ApiError) -> None:
    body = json.dumps(error.body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _silence(receive: Receive, seconds: float) -> None:
    """Say nothing until the client gives up or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def _into_the_void(_: Message) -> None:
    return


async def _hang_up(send: Send) -> None:
    """Promise a body and end without it: the HTTP server then closes the connection, and the client has no reply."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
