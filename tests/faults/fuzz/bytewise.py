"""Changes to bytes that know nothing of what the bytes mean."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

EDGES = (0, 1, -1, 2, 127, 128, 255, 32_767, 50_001, 65_536, 2**24, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1)
"""Integers at which sizes, offsets and counts break."""


def mutated(body: bytes, rng: random.Random) -> bytes:
    """``body`` after one to four changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        body = rng.choice(_CHANGES)(body, rng)
    return body


def _flip_bits(body: bytes, rng: random.Random) -> bytes:
    out = bytearray(body)
    for _ in range(min(len(out), rng.choice((1, 1, 8, 64)))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _flip_near_the_end(body: bytes, rng: random.Random) -> bytes:
    """A Parquet file's footer is there, and no checksum covers it."""
    cut = max(0, len(body) - 1_500)
    return body[:cut] + _flip_bits(body[cut:], rng)


def _cut(body: bytes, rng: random.Random) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def _remove(body: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(body) + 1)
    return body[:start] + body[start + rng.choice((1, 4, 100, 4_096)) :]


def _repeat(body: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(body) + 1)
    return body[:start] + body[start : start + rng.choice((1, 8, 500))] * rng.choice((2, 3, 50)) + body[start:]


def _swap(body: bytes, rng: random.Random) -> bytes:
    """Two stretches in each other's place."""
    size = min(len(body) // 2, rng.choice((4, 64, 1_024)))
    one = rng.randrange(len(body) - 2 * size + 1)
    other = rng.randrange(one + size, len(body) - size + 1)
    return (
        body[:one]
        + body[other : other + size]
        + body[one + size : other]
        + body[one : one + size]
        + body[other + size :]
    )


def _overwrite(body: bytes, rng: random.Random) -> bytes:
    """A stretch of noughts, of ones, of noise, or an integer at an edge."""
    if not body:
        return rng.randbytes(16)
    start, size = rng.randrange(len(body)), rng.choice((1, 4, 8, 256))
    number = rng.choice(EDGES) & (2**64 - 1)
    put = rng.choice(
        (b"\0" * size, b"\xff" * size, rng.randbytes(size), struct.pack("<Q", number)[: rng.choice((4, 8))])
    )
    return body[:start] + put + body[start + len(put) :]


_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip_bits,
    _flip_bits,
    _flip_near_the_end,
    _flip_near_the_end,
    _cut,
    _remove,
    _repeat,
    _swap,
    _overwrite,
)
