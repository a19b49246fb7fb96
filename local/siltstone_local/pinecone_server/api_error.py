"""Errors in Pinecone's three shapes: the data plane's, the control plane's, and a proxy's plain text."""

from __future__ import annotations

import json

_GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 412: 9, 413: 11, 429: 8, 500: 13, 501: 12, 503: 14}
_NAMES = {
    400: "INVALID_ARGUMENT",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    422: "UNPROCESSABLE_ENTITY",
    429: "RESOURCE_EXHAUSTED",
    500: "UNKNOWN",
    503: "UNAVAILABLE",
}


class ApiError(Exception):
    """An answer that is no success. By default in the shape of the data plane."""

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"content-type": "application/json", **(headers or {})}
        self.body = json.dumps({"code": _GRPC_CODES.get(status, 2), "message": message, "details": []}).encode()


class ControlError(ApiError):
    """In the shape of the control plane."""

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, message, headers=headers)
        error = {"code": _NAMES.get(status, "UNKNOWN"), "message": message}
        self.body = json.dumps({"error": error, "status": status}).encode()


class PlainError(ApiError):
    """As what stands in front of the API says it: text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message, headers={"content-type": "text/plain"})
        self.body = message.encode()
