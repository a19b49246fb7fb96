"""What a terminal gets: what stands in a stored text is shown, never obeyed."""

from __future__ import annotations

import io
import json

import pytest
from rich.markup import escape
from rich.table import Table
from siltstone_cli import console

EVIL = "Total\x1b[2J\x1b]0;mine\x07 \x9b31m5.00\rTotal 0.00"


@pytest.mark.parametrize("coloured", [False, True])
def test_a_stored_text_commands_no_terminal(coloured: bool) -> None:
    screen = console._Console(file=io.StringIO(), force_terminal=coloured, width=160, color_system=None)
    table = Table("document")
    table.add_row(escape(EVIL))
    screen.print(table)
    screen.print(escape(EVIL), soft_wrap=True)
    shown = screen.file.getvalue()
    assert not {each for each in shown if ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0} - {"\n"}
    assert shown.count("␛[2J") == 2


def test_colours_and_lines_stay() -> None:
    screen = console._Console(file=io.StringIO(), force_terminal=True, width=160, color_system="standard")
    screen.print("[green]✓[/] one\ntwo")
    assert screen.file.getvalue() == "\x1b[32m✓\x1b[0m one\ntwo\n"


def test_json_says_the_same_and_commands_none(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"document": EVIL + "\x7fé"})
    written = capsys.readouterr().out
    assert not {each for each in written if ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0} - {"\n"}
    assert json.loads(written) == {"document": EVIL + "\x7fé"}
