"""Crashes and races at an exact place: a store whose next matching call dies before or after it happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Crash(Exception):
    """The process is gone."""


class Hooked:
    """``target``, with ``hook`` run once around the first call of ``method`` that ``when`` accepts."""

    def __init__(
        self,
        target: Any,
        method: str,
        hook: Callable[[], None],
        *,
        after: bool = False,
        when: Callable[..., bool] = lambda *_, **__: True,
    ) -> None:
        self._target = target
        self._method = method
        self._hook: Callable[[], None] | None = hook
        self._after = after
        self._when = when

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name != self._method:
            return found

        def call(*args: Any, **more: Any) -> Any:
            hook = self._hook if self._hook is not None and self._when(*args, **more) else None
            if hook is not None:
                self._hook = None
            if hook is not None and not self._after:
                hook()
            reply = found(*args, **more)
            if hook is not None and self._after:
                hook()
            return reply

        return call


def crashing(target: Any, method: str, **more: Any) -> Any:
    """``target`` whose first matching call of ``method`` raises `Crash`, before (or ``after``) it happens."""

    def crash() -> None:
        raise Crash(method)

    return Hooked(target, method, crash, **more)


def key_ends(*ends: str) -> Callable[..., bool]:
    """Calls whose first argument ends so."""
    return lambda key, *_, **__: str(key).endswith(ends)
