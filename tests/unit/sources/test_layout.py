"""A receipt as plain text."""

from __future__ import annotations

from siltstone.sources.layout import lay_out
from siltstone.sources.receipt import Line, Receipt

from tests.unit.sources.examples import IMAGE


def shown(*lines: tuple[str, float, float, float, float], width: int = 20) -> list[str]:
    made = [
        Line(line_id=number, text=text, x=x, y=y, width=wide, height=high)
        for number, (text, x, y, wide, high) in enumerate(lines, start=1)
    ]
    return lay_out(Receipt(image_id=IMAGE, receipt_id=1, lines=tuple(made)), width)


def test_lines_stand_where_they_were_printed() -> None:
    assert shown(("SHOP", 0.4, 0.0, 0.2, 0.1), ("4.40", 0.8, 0.2, 0.2, 0.1), ("Latte", 0.0, 0.21, 0.5, 0.1)) == [
        "        SHOP",
        "Latte           4.40",
    ]


def test_what_overlaps_is_not_put_beside_each_other() -> None:
    assert shown(("one", 0.0, 0.0, 0.9, 0.2), ("two", 0.1, 0.05, 0.9, 0.2)) == ["one", "  two"]


def test_a_text_that_is_longer_than_its_box_pushes_the_next_one_on() -> None:
    assert shown(("a very long name", 0.0, 0.0, 0.3, 0.1), ("1.00", 0.4, 0.0, 0.2, 0.1)) == ["a very long name 1.00"]


def test_control_characters_and_boxes_without_height_do_no_harm() -> None:
    assert shown(("a\x1b[31m\nb", -0.01, 0.5, 0.2, 0.0), ("c", 0.5, 0.5, 0.2, 0.0)) == ["a [31m b", "          c"]
