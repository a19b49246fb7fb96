"""JSON with hostile values in it, and JSON that is hardly any."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.faults.fuzz.bytewise import EDGES, mutated

MEGABYTE = "x" * 2**20
PATHS = (
    "../canary.txt", "a/../../canary.txt", "/etc/passwd", "/tmp/canary", "..", ".", "", "a//b", "a/./b", "a/", "./a",
    "a\\..\\..\\b", "C:\\b", "a\0b", "\0", "../" * 40 + "canary", "x" * 5_000, "/".join(["d"] * 1_000), "a/b\n", "~/a",
    "%2e%2e/a", "\uff0e\uff0e/a", "CHROMA.SQLITE3", "chroma.sqlite3/x", "a", "A",
    "caf\u00e9", "cafe\u0301", "\ud800", "-rf", "$(id)",
)  # fmt: skip
"""What a path in somebody's file may look like."""

RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-0.0", "9" * 400, "9" * 5_000, "1" + "0" * 20, "0.1e-400", "null", "true",
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '""', '" "', '"\u202e\u200b"', '"NaN"',
    "[]", "{}", "[[]]", '[1, "a"]',
    "[" * 5_000 + "]" * 5_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 3_000 + "1" + "}" * 3_000, "1.5", "-1", "1e5",
)  # fmt: skip
"""Values as they would stand in the text."""

_MARK = "@@raw%d@@"


def make(seed: Any, rng: random.Random) -> bytes:
    """``seed`` as JSON after some changes; sometimes the text is damaged, too."""
    value = json.loads(json.dumps(seed))
    raws: list[str] = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = _changed(value, rng, raws)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    for number, raw in enumerate(raws):
        text = text.replace(f'"{_MARK % number}"', raw)
    body = text.encode("utf-8", "surrogatepass")
    damage = rng.random()
    if damage < 0.1:
        return mutated(body, rng)
    if damage < 0.13:
        return b"\xef\xbb\xbf" + body
    if damage < 0.16:
        return text.encode("utf-16", "surrogatepass")
    if damage < 0.2:  # a key again, with another value
        return body.replace(
            b"{", b'{"' + rng.choice(_keys(seed)).encode() + b'": ' + rng.choice(RAW[:8]).encode() + b", ", 1
        )
    return body


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) and value else ["id"]


def _changed(value: Any, rng: random.Random, raws: list[str]) -> Any:  # noqa: PLR0911
    """One change somewhere in the tree."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        what = rng.random()
        if what < 0.1:
            return {name: each for name, each in value.items() if name != key}
        if what < 0.2:
            return {**value, rng.choice(("extra", "", MEGABYTE, "chroma:document", "\ud800", key + " ")): 1}
        return {**value, key: _changed(value[key], rng, raws)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        what = rng.random()
        if what < 0.1:
            return value[:place] + value[place + 1 :]
        if what < 0.2:
            return value + [value[place]] * (1_000 if len(repr(value[place])) < 1_000 and rng.random() < 0.3 else 1)
        return [*value[:place], _changed(value[place], rng, raws), *value[place + 1 :]]
    return _hostile(value, rng, raws)


def _hostile(value: Any, rng: random.Random, raws: list[str]) -> Any:
    what = rng.random()
    if what < 0.35:
        raws.append(rng.choice(RAW))
        return _MARK % (len(raws) - 1)
    if what < 0.6:
        return rng.choice(PATHS)
    if what < 0.7:
        return rng.choice(EDGES)
    if what < 0.75:
        return MEGABYTE
    return rng.choice((str(value), [value], {"a": value}, None, True, 1.5, ["a", 1, None], value))
