"""``siltstone up`` and ``siltstone down``: the local stack."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Annotated

import typer
from rich.markup import escape

from siltstone_cli.console import output, print_json, problems
from siltstone_cli.exits import TargetMissing
from siltstone_cli.following import waited
from siltstone_cli.options import AsJson
from siltstone_cli.target import LOCAL_VARIABLE, local_state

_NEXT = """
Now, for instance:
  siltstone texts load notes.jsonl --collection notes --local   texts, one JSON object a line: id, text, metadata
  siltstone receipts load receipts.jsonl --local                receipts
  siltstone embed start --wait --local                          embed what is new
  siltstone compact start --force --wait --local                merge it into a snapshot
  siltstone query notes anything like it --local                ask
  siltstone status --local                                      what there is
  siltstone down                                                stop; nothing is lost
With `export SILTSTONE_LOCAL=1` they need no --local."""

_RESOURCE = re.compile(r"\S+: \S+ [A-Z_]+_(IN_PROGRESS|COMPLETE)")  # two hundred of them


def up(
    *,
    embeddings: Annotated[
        str,
        typer.Option("--embeddings", envvar="EMBEDDINGS", help="local: offline, lexical; openai: with OPENAI_API_KEY."),
    ] = "local",
    as_json: AsJson = False,
) -> None:
    """Start the local stack and leave it running: the template that is deployed, on an emulated AWS.

    It needs no account, no key and no network. What it holds is on disk, and is there again after `siltstone down`.
    SILTSTONE_LOCAL names another folder for it.

    Example: siltstone up && siltstone status --local
    """
    stack = local_stack()
    state = local_state(os.environ.get(LOCAL_VARIABLE, ""))
    deployed = stack.running(state)
    already = deployed is not None
    if deployed is None:
        chosen = stack.Embeddings.chosen(embeddings)
        with _steps() as tell:
            stack.stop_running(state)  # what is left of one of which a part has died
            deployed = stack.LocalStack(state, chosen).start(tell)
    if as_json:
        print_json(
            {"state": str(state), "already": already, "endpoint": deployed.endpoint, "outputs": deployed.outputs}
        )
        return
    if already:
        output.print("It runs already; `siltstone down`, then `siltstone up` deploys what changed.", soft_wrap=True)
    else:
        output.print(f"[green]✓[/] It runs, {escape(deployed.endpoint)}, state in {escape(str(state))}", soft_wrap=True)
    output.print(_NEXT, markup=False, soft_wrap=True)


def down(*, as_json: AsJson = False) -> None:
    """Stop the local stack. What it holds stays on disk, and `siltstone up` goes on with it.

    Example: siltstone down
    """
    stack = local_stack()
    state = local_state(os.environ.get(LOCAL_VARIABLE, ""))
    with waited("stopping the local stack"):
        stopped = stack.stop_running(state)
    if as_json:
        print_json({"state": str(state), "stopped": stopped})
    elif stopped:
        output.print(f"[green]✓[/] It is stopped; what it holds is in {escape(str(state))}", soft_wrap=True)
    else:
        output.print("Nothing was running.")


@contextmanager
def _steps() -> Generator[Callable[[str], None]]:
    """Tells each step: in one line on a terminal, line by line otherwise."""
    if not problems.is_terminal:
        told: set[str] = set()

        def line(text: str) -> None:
            text = "deploying" if _RESOURCE.fullmatch(text) else text
            if text not in told:
                told.add(text)
                problems.print(text, markup=False, soft_wrap=True)

        yield line
        return
    with problems.status("starting") as shown:
        yield lambda text: shown.update(escape(text))


def local_stack() -> ModuleType:
    """The local stack's own requirements are an extra: only who asks for it needs them."""
    try:
        from siltstone_local import stack  # noqa: PLC0415
    except ImportError as error:
        raise TargetMissing(
            f"The local stack is not installed: {error}.", remedy="In a checkout: make setup."
        ) from error
    return stack
