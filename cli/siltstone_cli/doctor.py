"""``siltstone doctor``"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import siltstone
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.text import Text
from siltstone.errors import SiltstoneError
from siltstone.overview.doctor.check import Check, Level, Patient
from siltstone.overview.doctor.examine import examine
from siltstone.stores.account_aws import AwsAccount

from siltstone_cli.console import output, print_json, problems
from siltstone_cli.exits import FAILED, BadUsage, sentence
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.stack import local_stack
from siltstone_cli.target import LOCAL_VARIABLE, Target, find_target, local_state

_MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "problem": ("✗", "red"),
    "not checked": ("·", "dim"),
}
_LACKING = {
    "lifecycle": "the emulated AWS has no lifecycles: nothing expires",
    "recovery": "the emulated AWS has no point-in-time recovery; its state is in a folder",
    "concurrency": "the emulated AWS has no limits",
}


def doctor(context: typer.Context, stage: Stage = None, local: Local = False, as_json: AsJson = False) -> None:
    """Check whether a stage can work: credentials, limits, what is deployed, clocks, versions, the provider's key.

    Each line is ok, a warning, a problem with its remedy, or what could not be checked and why. It only reads.

    Example: siltstone doctor --stage dev

    Exit code 1 if there is a problem.
    """
    checks: list[Check] = []
    for check in _checks(context, stage, local):
        checks.append(check)
        if not as_json:
            _show(check)
    worst = any(check.level == "problem" for check in checks)
    if as_json:
        print_json({"healthy": not worst, "checks": [check.model_dump(mode="json") for check in checks]})
    if worst:
        raise typer.Exit(FAILED)


def _checks(context: typer.Context, stage: str | None, local: bool) -> Iterator[Check]:
    try:
        target = find_target(context, stage, local)
    except BadUsage:
        raise
    except (SiltstoneError, BotoCoreError, ClientError) as error:
        yield Check(name="reach", level="problem", detail=sentence(error))
        return
    if target.emulated and local_stack().running(local_state(os.environ.get(LOCAL_VARIABLE, ""))) is None:
        yield Check(name="reach", level="problem", detail="The batch server has ended.", remedy="siltstone up")
    with problems.status("asking"):
        yield from examine(_patient(target))


def _patient(target: Target) -> Patient:
    return Patient(
        stack=target.stack,
        outputs=target.outputs,
        account=AwsAccount(target.make_client),
        stores=target.stores,
        machines={"compaction": target.machine("Compaction"), "embedding": target.machine("Embedding")},
        clock=target.clock,
        here={
            "siltstone": siltstone.__version__,
            **_installed("chromadb", "boto3"),
            "python": platform.python_version(),
        },
        lacking=_LACKING if target.emulated else {},
    )


def _installed(*names: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "is not installed"
    return found


def _show(check: Check) -> None:
    mark, colour = _MARKS[check.level]
    line = Text(f"{mark} ", colour)
    line.append(f"{check.name:<12}", "bold")
    line.append(check.detail if check.level != "not checked" else f"not checked: {check.detail}")
    if check.remedy:
        line.append(f"\n{'':<14}→ {check.remedy}", "dim")
    output.print(line, soft_wrap=True)
