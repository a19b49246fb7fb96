"""Options that every command has."""

from __future__ import annotations

from typing import Annotated

import typer

Stage = Annotated[
    str | None,
    typer.Option("--stage", metavar="NAME", help="A deployed stage, such as dev. Also SILTSTONE_STAGE."),
]
Local = Annotated[bool, typer.Option("--local", help="The local stack of `make up`. Also SILTSTONE_LOCAL=1.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
