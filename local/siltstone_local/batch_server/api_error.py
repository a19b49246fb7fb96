"""Errors in OpenAI's shape."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer that is no success. ``kind``: the ``type`` of OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def missing(param: str) -> ApiError:
    return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def invalid(param: str, message: str, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def provoked(status: int) -> ApiError:
    """What a fault switch answers."""
    if status == 429:
        return ApiError(429, "Rate limit reached (provoked).", code="rate_limit_exceeded", kind="requests")
    return ApiError(status, "The server had an error while processing your request (provoked).", kind="server_error")
