"""A group whose commands are imported when somebody asks for them: each costs what it needs, not what all need."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, ClassVar

import typer

from siltstone_cli.exits import Commands


class LazyCommands(Commands):
    """``places``: where each command is, ``module:attribute``, in the order of the help; a subclass says."""

    places: ClassVar[dict[str, str]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "commands": _Loading(self.places)})

    def list_commands(self, ctx: Any) -> list[str]:
        """Names alone, so that completing one imports none."""
        del ctx
        return list(self.places)


class _Loading(MutableMapping[str, Any]):
    """Commands by name."""

    def __init__(self, places: dict[str, str]) -> None:
        self._places = places
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            module, attribute = self._places[name].split(":")
            self._loaded[name] = _command(name, getattr(import_module(module), attribute))
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _command(name: str, found: Any) -> Any:
    """Of a Typer application, or of a function, as if it had been added to the root."""
    root = typer.Typer(rich_markup_mode="rich")
    if isinstance(found, typer.Typer):
        root.add_typer(found, name=name)
    else:
        root.command(name=name)(found)
    return typer.main.get_group(root).commands[name]
