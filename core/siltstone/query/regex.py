r"""Patterns that mean the same to Chroma and here.

Chroma runs them in Rust's regex crate, where ``\d``, ``\w``, ``\s`` and ``\b`` follow Unicode; pending documents are
searched with RE2, where they are ASCII. Both take linear time. `to_re2` rewrites what differs and refuses what one of
them lacks: a pattern is refused, or it means one thing.

What RE2 can't say is a Unicode word boundary. Over ASCII it is the same; for the rest, `Pattern.without_boundaries`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from siltstone.errors import BadQuery

# By the Unicode properties that Rust's documentation names: White_Space; Alphabetic, M, Nd, Pc and Join_Control.
_SPACE = r"\t-\r \x{85}\p{Z}"
_NO_SPACE = (
    r"\x{0}-\x{8}\x{e}-\x{1f}!-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}"
    r"\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff}"
)
_WORD = (
    r"\p{L}\p{M}\p{Nl}\p{Nd}\p{Pc}\x{200c}\x{200d}"
    r"\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}"
)
_CLASSES = {"d": r"\p{Nd}", "D": r"\P{Nd}", "s": _SPACE, "S": _NO_SPACE, "w": _WORD}
_SAME = frozenset("nrtfvaAzpPx")  # \p{..} and \x.. go on in plain characters, which both read alike
_SETS = re.compile(r"&&|--|~~")
_OPENING = re.compile(r"\[\^?\]?")
_NAMED_CLASS = re.compile(r"\[:\^?[a-z]+:\]")


@dataclass(frozen=True)
class Pattern:
    r"""A pattern for RE2. ``without_boundaries``: the same with every ``\b`` and ``\B`` left out, if there is one.

    RE2 looks neither ahead nor behind, so without its boundaries a pattern matches at least what it matched with them.
    """

    re2: str
    without_boundaries: str | None


def to_re2(pattern: str, at: str) -> Pattern:
    """Rewrite ``pattern``. Raises `BadQuery` naming ``at`` for what the two engines read differently."""
    whole: list[str] = []
    loose: list[str] = []
    place, in_class = 0, False
    while place < len(pattern):
        character = pattern[place]
        piece = pattern[place : place + 2] if character == "\\" else character
        if named := _NAMED_CLASS.match(pattern, place) if in_class else None:
            piece = named[0]
        elif character == "[" and in_class:
            raise _refused(at, "a class inside a class")
        elif in_class and _SETS.match(pattern, place):
            raise _refused(at, f"{pattern[place : place + 2]} in a class")
        elif character == "[":
            # A bracket right after the opening one is a plain character.
            opening = _OPENING.match(pattern, place)
            piece, in_class = opening[0] if opening else character, True
        elif character == "]":
            in_class = False
        rewritten = _escape(piece, at, in_class=in_class) if character == "\\" else piece
        whole.append(rewritten)
        loose.append("" if piece in ("\\b", "\\B") else rewritten)
        if piece == "\\b" and pattern.startswith("{", place + 2):
            raise _refused(at, r"\b{...}")
        place += len(piece)
    with_boundaries, without = "".join(whole), "".join(loose)
    return Pattern(with_boundaries, without if without != with_boundaries else None)


def _escape(piece: str, at: str, *, in_class: bool) -> str:
    name = piece[1:]
    if name in _CLASSES:
        return _CLASSES[name] if in_class else f"[{_CLASSES[name]}]"
    if name == "W" and not in_class:
        return f"[^{_WORD}]"
    if name in ("b", "B") and not in_class:
        return piece
    if name in _SAME and not (in_class and name in "Az"):
        return piece
    if name.isascii() and not name.isalnum() and name not in ("", "<", ">"):
        return piece
    raise _refused(at, piece if not in_class else f"{piece} in a class")


def _refused(at: str, what: str) -> BadQuery:
    return BadQuery(
        f"{at}: {what} is not supported in a pattern.",
        remedy=r"Use what Rust's regex crate and RE2 both read: \d \w \s \b, classes, groups, repetitions.",
    )
