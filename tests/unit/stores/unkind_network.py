"""A proxy before the emulated AWS that does to requests what networks and services do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Mishap = Literal["none", "lose the reply", "conflict", "slow down", "cut the body"]

_REFUSALS = {"conflict": (409, "ConditionalRequestConflict"), "slow down": (503, "SlowDown")}


class UnkindNetwork:
    """Forwards to ``port``. ``mishaps``: what happens to the next requests of a method, in order."""

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.endpoint = ""
        self.mishaps: dict[str, list[Mishap]] = {}
        self.seen: list[str] = []
        self.lock = threading.Lock()

    def next_mishap(self, method: str) -> Mishap:
        with self.lock:
            self.seen.append(method)
            waiting = self.mishaps.get(method)
            return waiting.pop(0) if waiting else "none"


@contextmanager
def unkind_network(upstream: int) -> Iterator[UnkindNetwork]:
    """A network whose ``endpoint`` reaches the service on port ``upstream``."""
    network = UnkindNetwork(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            mishap = network.next_mishap(self.command)
            if mishap in _REFUSALS:
                status, code = _REFUSALS[mishap]
                self.answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())
                return
            connection = http.client.HTTPConnection("127.0.0.1", network.upstream, timeout=10)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            connection.request(self.command, self.path, body, headers)
            reply = connection.getresponse()
            answer = reply.read()
            connection.close()
            if mishap == "lose the reply":
                self.close_connection = True
                return
            names = dict(reply.getheaders())
            if mishap == "cut the body":
                self.answer(reply.status, names | {"Content-Length": str(len(answer))}, answer[: len(answer) // 2])
                self.close_connection = True
                return
            self.answer(reply.status, names, answer)

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            if not any(name.lower() == "content-length" for name in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    network.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield network
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
