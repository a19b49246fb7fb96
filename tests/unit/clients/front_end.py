"""Lambda's two front ends on this machine: its ``Invoke`` API, and a function URL that checks signatures by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

ACCESS_KEY, SECRET_KEY, REGION = "AKIDEXAMPLE", "the secret key", "eu-west-1"
FUNCTION = "siltstone-test-query"
Handler = Callable[[Any, Any], dict[str, Any]]
_INVOKE = f"/2015-03-31/functions/{FUNCTION}/invocations"


@dataclass
class Context:
    aws_request_id: str = "request-1"
    function_name: str = FUNCTION
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:123456789012:function:{FUNCTION}"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class FrontEnd:
    """``url`` is the function's URL, ``endpoint`` that of the Invoke API. ``next_statuses``: answered first, instead
    of asking the handler; ``asked``: how many requests came."""

    def __init__(self, handler: Handler) -> None:
        self.next_statuses: list[int] = []
        self.asked = 0
        front = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                front.asked += 1
                status, headers, reply = front.answer(handler, self.path, dict(self.headers.items()), body)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(reply))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.endpoint}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def answer(
        self, handler: Handler, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if self.next_statuses:
            return self.next_statuses.pop(0), {}, b'{"Message": "not now"}'
        if not signed(path, headers, body):
            return 403, {}, b'{"Message": "The request signature we calculated does not match the signature."}'
        if path == _INVOKE:
            return invoked(handler, body)
        if path.startswith("/2015-03-31/"):
            return 404, {"x-amzn-ErrorType": "ResourceNotFoundException"}, b'{"Message": "Function not found"}'
        return over_url(handler, path, headers, body)

    def __enter__(self) -> FrontEnd:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def invoked(handler: Handler, body: bytes) -> tuple[int, dict[str, str], bytes]:
    try:
        return 200, {}, json.dumps(handler(json.loads(body), Context())).encode()
    except Exception as error:  # as Lambda's runtime client reports it
        told = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": []}
        return 200, {"X-Amz-Function-Error": "Unhandled"}, json.dumps(told).encode()


def over_url(handler: Handler, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Payload format 2.0, as AWS documents it for function URLs with IAM authentication."""
    text = headers.get("Content-Type", headers.get("content-type", "")).startswith("application/json")
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "urlid",
            "authentication": None,
            "authorizer": {"iam": {"accessKey": ACCESS_KEY, "accountId": "123456789012", "userId": "AIDEXAMPLE"}},
            "domainName": f"urlid.lambda-url.{REGION}.on.aws",
            "domainPrefix": "urlid",
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
            "requestId": "request-1",
            "routeKey": "$default",
            "stage": "$default",
        },
        "body": body.decode() if text else base64.b64encode(body).decode(),
        "isBase64Encoded": not text,
    }
    try:
        reply = handler(event, Context())
    except Exception:  # whatever it is, the caller does not learn it
        return 502, {}, b"Internal Server Error"
    return reply["statusCode"], reply["headers"], reply["body"].encode()


def signed(path: str, headers: dict[str, str], body: bytes) -> bool:
    """Signature version 4, calculated from its specification and not with the library that signs."""
    given = {name.lower(): value for name, value in headers.items()}
    words = given.get("authorization", "").removeprefix("AWS4-HMAC-SHA256 ").split(", ")
    parts = dict(word.split("=", 1) for word in words if "=" in word)
    if parts.keys() != {"Credential", "SignedHeaders", "Signature"}:
        return False
    key, day, region, service, end = parts["Credential"].split("/")
    if (key, region, service, end) != (ACCESS_KEY, REGION, "lambda", "aws4_request"):
        return False
    names = parts["SignedHeaders"].split(";")
    if "host" not in names or "x-amz-date" not in names:
        return False
    canonical = "\n".join(
        ["POST", path, "", *(f"{name}:{given[name].strip()}" for name in names), "", ";".join(names), _sha256(body)]
    )
    scope = f"{day}/{region}/{service}/{end}"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", given["x-amz-date"], scope, _sha256(canonical.encode())])
    signing = f"AWS4{SECRET_KEY}".encode()
    for step in (day, region, service, end, to_sign):
        signing = hmac.new(signing, step.encode(), hashlib.sha256).digest()
    return hmac.compare_digest(signing.hex(), parts["Signature"])


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
