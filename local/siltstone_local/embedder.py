"""The built-in embedder: lexical, not semantic. It knows how texts are spelled and nothing of what they mean.

It stands in for a learned model where there is no network: dense unit vectors whose cosine is the overlap of two texts'
character n-grams, so that a line is found by its words, also with slips of optical character recognition in them.

How: case folded, lookalikes folded (0 and O, 1 and I and L, 5 and S, 8 and B), punctuation dropped; n-grams of 2 to 4
characters that stay within a word and know its ends; each counted sub-linearly, hashed with a sign into a few thousand
buckets, and the buckets projected by a fixed pseudo-random matrix. In ``<TARGET>..</TARGET> <POS>..</POS>
<CONTEXT>..</CONTEXT>`` the target weighs most and the context little, so that a plain query finds the line.

The same text has the same bytes on every machine, alone or among others: weights and matrix are whole numbers, small
enough for float32 sums to be exact, so the order in which a BLAS adds them can't show.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MODEL = "siltstone-lexical-v1"
DESCRIPTION = (
    "Siltstone's built-in lexical embedder: hashed character n-grams under a fixed random projection. Deterministic, "
    "offline, knows spelling and not meaning. It answers under the names of OpenAI's models and is none of them."
)
MAX_DIMENSION = 4096

_BUCKETS = 2048
_CHUNK_TEXTS = 256
_CHUNK_CHARS = 200_000  # bounds memory at about 100 MB, whatever the length of the texts
_PARTS = re.compile(r"<TARGET>(.*)</TARGET> <POS>(.*)</POS> <CONTEXT>(.*)</CONTEXT>", re.DOTALL)
_PLAIN, _POSITION, _CONTEXT, _WHOLE = range(4)
_ZONE_WEIGHT = np.array([20.0, 1.0, 3.0, 1.0])
_GRAM_WEIGHT = np.array([0.0, 0.0, 1.0, 2.0, 2.0])  # by length: a shared pair of letters says little
_ZONE_SALT = np.array([0, 0x51, 0, 0x52], dtype=np.uint64)  # a position never looks like a word; a context may
_SPACE = ord(" ")
_LOOKALIKES = {"0": "o", "1": "l", "i": "l", "5": "s", "8": "b"}


def embed(texts: Sequence[str], dimension: int) -> NDArray[np.float32]:
    """Embed ``texts`` as float32 (n, ``dimension``), unit length. 1 <= dimension <= 4096, else `ValueError`.

    Never a zero vector: a text without letters or digits is known by its exact characters.
    """
    if not 1 <= dimension <= MAX_DIMENSION:
        raise ValueError(f"{dimension} dimensions: {MODEL} has 1 to {MAX_DIMENSION}.")
    vectors = np.empty((len(texts), dimension), dtype=np.float32)
    for start, stop in _chunks(texts):
        vectors[start:stop] = _project(_bucket_counts(texts[start:stop]), dimension)
    return vectors


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for index, text in enumerate(texts):
        if index > start and (index - start == _CHUNK_TEXTS or size + len(text) > _CHUNK_CHARS):
            yield start, index
            start, size = index, 0
        size += len(text)
    if start < len(texts):
        yield start, len(texts)


def _project(counts: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """(n, buckets) whole numbers to (n, dimension) unit vectors."""
    sums = counts @ _projection(dimension)
    sums[~sums.any(axis=1), 0] = 1.0  # happens in one or two dimensions: even then no zero vector
    norms = np.sqrt(np.einsum("ij,ij->i", sums, sums, dtype=np.float64))
    return (sums / norms[:, None]).astype(np.float32)


@lru_cache(maxsize=4)
def _projection(dimension: int) -> NDArray[np.float32]:
    """(buckets, dimension) odd whole numbers within +-63, close to normal: bits of a hash, counted.

    A bucket's first components do not depend on ``dimension``.
    """
    bucket, component = np.arange(_BUCKETS, dtype=np.uint64), np.arange(dimension, dtype=np.uint64)
    bits = _mix(bucket[:, None] * np.uint64(MAX_DIMENSION) + component[None, :]) >> np.uint64(1)
    return (2 * np.bitwise_count(bits).astype(np.int16) - 63).astype(np.float32)


def _bucket_counts(texts: Sequence[str]) -> NDArray[np.float32]:
    """(n, buckets): each distinct n-gram's weight, rounded, added under its sign."""
    codes, zones, owners = _characters(texts)
    grams, weights = [], []
    folded = _folded(codes)
    for length in (2, 3, 4):
        keys, places = _grams(folded, length)
        owner, zone = owners[places], zones[places]
        # 46 bits of hash, and above them who it belongs to: one sort then groups text, zone and n-gram.
        hashed = _mix(keys ^ (_ZONE_SALT[zone] << np.uint64(56)) ^ np.uint64(length)) >> np.uint64(18)
        distinct, count = np.unique((owner * np.uint64(4) + zone) << np.uint64(46) | hashed, return_counts=True)
        grams.append(distinct)
        weights.append(_weight((distinct >> np.uint64(46)) & np.uint64(3), count) * _GRAM_WEIGHT[length])
    found, weight = np.concatenate(grams), np.rint(np.concatenate(weights))
    counts = _accumulate(found >> np.uint64(48), found, weight, len(texts))
    for index in np.flatnonzero(~counts.any(axis=1)).tolist():
        counts[index] = _whole(texts[index])
    return counts.astype(np.float32)


def _weight(zone: NDArray[np.uint64], count: NDArray[np.intp]) -> NDArray[np.float64]:
    return _ZONE_WEIGHT[zone] * np.sqrt(count)


def _accumulate(
    owner: NDArray[np.uint64], hashed: NDArray[np.uint64], weight: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    bucket = hashed & np.uint64(_BUCKETS - 1)
    sign = 1.0 - 2.0 * ((hashed >> np.uint64(20)) & np.uint64(1))
    places = (owner * np.uint64(_BUCKETS) + bucket).astype(np.int64)
    sums = np.bincount(places, weight * sign, minlength=n * _BUCKETS)
    return sums.reshape(n, _BUCKETS).astype(np.float64)


def _whole(text: str) -> NDArray[np.float64]:
    """(buckets,) for a text without a single n-gram: known by its exact characters."""
    key = np.uint64(_SPACE)
    for character in text:
        key = _mix(np.array([key ^ np.uint64(ord(character))]))[0]
    return _accumulate(np.zeros(1, np.uint64), np.array([key]), np.ones(1), 1)[0]


def _characters(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint64]]:
    """All characters of all texts in one row, with each one's zone and text; segments end in two spaces."""
    segments: list[str] = []
    zones: list[int] = []
    owners: list[int] = []
    for owner, text in enumerate(texts):
        for zone, part in _segments(text):
            segments.append(f" {part}  ")
            zones.append(zone)
            owners.append(owner)
    lengths = [len(segment) for segment in segments]
    codes = np.frombuffer("".join(segments).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return (
        codes,
        np.repeat(np.array(zones, np.uint64), lengths),
        np.repeat(np.array(owners, np.uint64), lengths),
    )


def _segments(text: str) -> list[tuple[int, str]]:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    parts = _PARTS.fullmatch(text) if text.startswith("<TARGET>") else None
    if parts is None:
        return [(_PLAIN, text)]
    target, position, context = parts.groups()
    return [(_PLAIN, target), (_POSITION, position), (_CONTEXT, context.replace("<EDGE>", " "))]


def _grams(folded: NDArray[np.uint64], length: int) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Keys and first places of the n-grams that lie within one word and its two ends."""
    count = max(0, len(folded) - length + 1)
    windows = [folded[offset : offset + count] for offset in range(length)]
    space = np.uint64(_SPACE)
    inside = windows[1:-1] if length > 2 else []
    keep = np.ones(count, dtype=bool) if inside else (windows[0] != space) | (windows[1] != space)
    for window in inside:
        keep &= window != space
    places = np.flatnonzero(keep)
    keys = np.zeros(len(places), dtype=np.uint64)
    for window in windows:
        keys = _mix(keys) ^ window[places]
    return keys, places


def _folded(codes: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Code points with case and lookalikes folded and everything but letters and digits turned into a space."""
    table = _folding()
    return np.where(codes < len(table), table[np.minimum(codes, len(table) - 1)], codes).astype(np.uint64)


@lru_cache(maxsize=1)
def _folding() -> NDArray[np.uint32]:
    """For every code point of the basic plane, what it is folded to; the planes above are taken as they are."""
    return np.array([_fold(chr(code)) for code in range(0x10000)], dtype=np.uint32)


def _fold(character: str) -> int:
    # A combining mark (Tamil vowel signs, Arabic points) belongs to its word: it must not end it.
    if not (character.isalnum() or unicodedata.category(character).startswith("M")):
        return _SPACE
    folded = character.casefold()
    folded = folded if len(folded) == 1 else character
    return ord(_LOOKALIKES.get(folded, folded))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finalizer: every bit of the input moves half the bits of the output."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
