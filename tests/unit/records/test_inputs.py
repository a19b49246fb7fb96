"""Embedding inputs: exactly what is sent, where a thing is, and what is beside it."""

from __future__ import annotations

from typing import Any

import pytest
from siltstone.records.inputs import (
    Neighbours,
    context_input,
    line_position,
    lines_in_context,
    word_position,
    words_in_context,
)
from siltstone.sources.receipt import Line, Receipt, Word

IMAGE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def line(line_id: int, text: str, *, x: float = 0.1, y: float = 0.1, **other: Any) -> Line:
    return Line(**{"line_id": line_id, "text": text, "x": x, "y": y, "width": 0.2, "height": 0.02, **other})


def word(word_id: int, text: str, *, x: float, y: float = 0.1, **other: Any) -> Word:
    return Word(
        **{"line_id": 1, "word_id": word_id, "text": text, "x": x, "y": y, "width": 0.1, "height": 0.02, **other}
    )


def receipt(*lines: Line, words: tuple[Word, ...] = ()) -> Receipt:
    return Receipt(image_id=IMAGE, receipt_id=1, lines=lines, words=words)


def test_the_string_is_exactly_the_designs() -> None:
    assert context_input("TOTAL", "bottom", Neighbours("TAX 1.00", "CASH")) == (
        "<TARGET>TOTAL</TARGET> <POS>bottom</POS> <CONTEXT>TAX 1.00 CASH</CONTEXT>"
    )


def test_where_there_is_no_neighbour_stands_an_edge() -> None:
    assert context_input("A", "top", Neighbours(None, None)).endswith("<CONTEXT><EDGE> <EDGE></CONTEXT>")


@pytest.mark.parametrize(
    ("y", "position"),
    [
        (0.0, "top"),
        (0.32, "top"),
        (0.3234, "middle"),
        (0.5, "middle"),
        (0.65, "middle"),
        (0.657, "bottom"),
        (0.98, "bottom"),
    ],
)
def test_a_lines_position_is_the_third_with_its_vertical_centre(y: float, position: str) -> None:
    assert line_position(line(1, "x", y=y)) == position


@pytest.mark.parametrize(
    ("x", "y", "position"),
    [
        (0.0, 0.0, "top-left"),
        (0.45, 0.0, "top-center"),
        (0.9, 0.0, "top-right"),
        (0.0, 0.5, "middle-left"),
        (0.45, 0.5, "middle-center"),
        (0.9, 0.5, "middle-right"),
        (0.0, 0.9, "bottom-left"),
        (0.45, 0.9, "bottom-center"),
        (0.9, 0.9, "bottom-right"),
    ],
)
def test_a_words_position_is_a_cell_of_the_grid(x: float, y: float, position: str) -> None:
    assert word_position(word(1, "x", x=x, y=y)) == position


def test_lines_are_read_from_the_top_whatever_their_ids_say() -> None:
    found = lines_in_context(receipt(line(1, "last", y=0.8), line(2, "first", y=0.1), line(3, "second", y=0.4)))
    assert [(item.text, near) for item, near in found] == [
        ("first", Neighbours(None, "second")),
        ("second", Neighbours("first", "last")),
        ("last", Neighbours("second", None)),
    ]


def test_lines_at_one_height_are_read_from_the_left_then_by_id() -> None:
    found = lines_in_context(receipt(line(1, "price", x=0.6), line(3, "ware again"), line(2, "ware")))
    assert [item.text for item, _ in found] == ["ware", "ware again", "price"]


def test_the_vertical_centre_counts_not_the_upper_edge() -> None:
    tall = line(1, "tall", y=0.1, height=0.3)
    assert [item.text for item, _ in lines_in_context(receipt(tall, line(2, "small", y=0.15)))] == ["small", "tall"]


def test_a_words_neighbours_are_the_nearest_on_its_own_line() -> None:
    words = (
        word(1, "right", x=0.7),
        word(2, "left", x=0.1),
        word(3, "mid", x=0.4),
        word(1, "other", x=0.5, line_id=2),
    )
    found = words_in_context(receipt(line(1, "left mid right"), line(2, "other"), words=words))
    assert [(item.text, near) for item, near in found] == [
        ("left", Neighbours(None, "mid")),
        ("mid", Neighbours("left", "right")),
        ("right", Neighbours("mid", None)),
        ("other", Neighbours(None, None)),
    ]
