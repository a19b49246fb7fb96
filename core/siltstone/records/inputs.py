"""Embedding inputs, versioned: what exactly is sent for a line or a word.

``line-context-v1`` and ``word-context-v1`` are
``<TARGET>{text}</TARGET> <POS>{position}</POS> <CONTEXT>{previous} {next}</CONTEXT>``, with ``<EDGE>`` where there is
no neighbour. The string is never parsed back; neighbours stand in the metadata too.

- A line's position is the third of the image in which its box's vertical centre lies; its neighbours are the lines
  before and after it in reading order: by the box's vertical centre, then its left edge, then its id.
- A word's position is a cell of a 3x3 grid by its box's centre (``top-left`` to ``bottom-right``, the middle one is
  ``middle-center``); its neighbours are the nearest words to its left and right on the same line: by the box's
  horizontal centre, then its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from siltstone.sources.receipt import Line, Receipt, Word

EDGE = "<EDGE>"

Item = TypeVar("Item", bound=Line)


@dataclass(frozen=True)
class Neighbours:
    """The texts before and after; ``None`` at the edge."""

    previous: str | None
    next: str | None


def context_input(text: str, position: str, neighbours: Neighbours) -> str:
    """The input of both context formats."""
    previous = EDGE if neighbours.previous is None else neighbours.previous
    following = EDGE if neighbours.next is None else neighbours.next
    return f"<TARGET>{text}</TARGET> <POS>{position}</POS> <CONTEXT>{previous} {following}</CONTEXT>"


def lines_in_context(receipt: Receipt) -> Iterator[tuple[Line, Neighbours]]:
    """Every line with its neighbours, in reading order."""
    return _in_context(sorted(receipt.lines, key=lambda line: (line.centre[1], line.x, line.line_id)))


def words_in_context(receipt: Receipt) -> Iterator[tuple[Word, Neighbours]]:
    """Every word with its neighbours, line by line (in the order of their ids), from left to right."""
    for _, words in groupby(receipt.words, key=lambda word: word.line_id):
        yield from _in_context(sorted(words, key=lambda word: (word.centre[0], word.word_id)))


def line_position(line: Line) -> str:
    """``top``, ``middle`` or ``bottom``."""
    return _third(line.centre[1], "top", "middle", "bottom")


def word_position(word: Word) -> str:
    """``top-left`` ... ``middle-center`` ... ``bottom-right``."""
    x, y = word.centre
    return f"{_third(y, 'top', 'middle', 'bottom')}-{_third(x, 'left', 'center', 'right')}"


def _third(place: float, first: str, second: str, third: str) -> str:
    return first if place < 1 / 3 else second if place < 2 / 3 else third


def _in_context(ordered: Sequence[Item]) -> Iterator[tuple[Item, Neighbours]]:
    texts = [None, *(item.text for item in ordered), None]
    for index, item in enumerate(ordered):
        yield item, Neighbours(previous=texts[index], next=texts[index + 2])
