"""What every request passes: the API key, the length of its URL, and the faults that concern its reply."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siltstone_local.pinecone_server.api_error import ApiError, ControlError, PlainError
from siltstone_local.pinecone_server.faults import FaultBoard

DATA_PLANE = "/index/"  # an index's host is "http://ADDRESS/index/NAME"


class Requests:
    """How many requests had which answer, as ``"POST /query 200"``. 0: none, the connection died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def count(self, method: str, path: str, status: int) -> None:
        with self._lock:
            self._counts[f"{method} {path} {status}"] += 1

    def show(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


class Gate:
    """ASGI middleware around the API. Paths that start with ``/_`` are the server's own and need no key."""

    def __init__(self, app: ASGIApp, board: FaultBoard, requests: Requests) -> None:
        self._app = app
        self._board = board
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_"):
            await self._app(scope, receive, send)
            return
        reply = _Reply(send)
        path = api_path(scope["path"])
        try:
            await self._pass(scope, receive, reply, path)
        finally:
            self._requests.count(scope["method"], path, reply.status)

    async def _pass(self, scope: Scope, receive: Receive, reply: _Reply, path: str) -> None:
        faults = self._board.show()
        if not dict(scope["headers"]).get(b"api-key"):
            await _refuse(receive, reply, PlainError(401, "Unauthorized"))
            return
        if len(scope["raw_path"]) + len(scope["query_string"]) > faults.max_url_bytes:
            await _refuse(receive, reply, PlainError(414, "Request-URI Too Large"))
            return
        on_data_plane = scope["path"].startswith(DATA_PLANE)
        fault = self._board.take(scope["method"], path) if on_data_plane else None
        if faults.delay_seconds:
            await asyncio.sleep(faults.delay_seconds)
        match fault.kind if fault else None:
            case None:
                await self._app(scope, receive, reply.send)
            case "timeout":
                assert fault  # noqa: S101 - for the type checker
                await _silence(receive, fault.seconds)
                await reply.hang_up()
            case "lost":
                await self._app(scope, receive, _into_the_void)
                await reply.hang_up()
            case "cut":
                await self._app(scope, receive, reply.send_half)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case kind:
                await _refuse(receive, reply, _provoked(int(kind), faults.retry_after_seconds, on_data_plane))


class _Reply:
    """Passes the answer on, or spoils it, and remembers its status: 0 where the client gets none that is whole."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    async def send_half(self, message: Message) -> None:
        """The head promises the whole; the HTTP server closes the connection when the rest does not come."""
        if message["type"] == "http.response.body":
            message = {**message, "body": message["body"][: len(message["body"]) // 2], "more_body": True}
        await self._send(message)

    async def hang_up(self) -> None:
        """Promise a body and end without it: the connection is closed, and the client has no reply."""
        await self._send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})


def api_path(path: str) -> str:
    """``path`` as Pinecone's API names it: without the part that says which index."""
    return "/" + path.removeprefix(DATA_PLANE).partition("/")[2] if path.startswith(DATA_PLANE) else path


def _provoked(status: int, retry_after: float | None, on_data_plane: bool) -> ApiError:
    headers = {"retry-after": f"{retry_after:g}"} if status == 429 and retry_after is not None else {}
    texts = {429: "Too many requests. You've reached the request rate of this index.", 503: "Service unavailable"}
    shape = ApiError if on_data_plane else ControlError
    return shape(status, texts.get(status, "Internal error"), headers=headers)


async def _refuse(receive: Receive, reply: _Reply, error: ApiError) -> None:
    # Read the body first: a client that is still sending would see a broken connection instead of the refusal.
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    headers.append((b"content-length", str(len(error.body)).encode()))
    await reply.send({"type": "http.response.start", "status": error.status, "headers": headers})
    await reply.send({"type": "http.response.body", "body": error.body})


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
