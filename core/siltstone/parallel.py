"""Many small requests at once, and things a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

THREADS = 16  # below the clients' connection pools


def in_parallel(work: Callable[[A], B], things: Iterable[A]) -> list[B]:
    """``work`` on each, in order. The first error is raised once everything that was started has ended."""
    todo = list(things)
    if len(todo) < 2:
        return [work(thing) for thing in todo]
    with ThreadPoolExecutor(min(THREADS, len(todo))) as pool:
        return list(pool.map(work, todo))


def chunks(things: Iterable[A], size: int) -> Iterator[list[A]]:
    """Lists of at most ``size``, in order, never an empty one."""
    rest = iter(things)
    while chunk := list(islice(rest, size)):
        yield chunk
