"""Exit codes, and the one place where an error becomes a sentence.

====  ==================================================================================================
0     done, and nothing was found
1     there are findings, or what was asked for could not be done (a busy lock, damage, a limit)
2     the command line is wrong, or a name in it: a collection, a version, a stage's setting
3     not reachable: no credentials, no such stage, no local stack, no permission, or no answer
130   interrupted
====  ==================================================================================================
"""

from __future__ import annotations

from typing import Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape
from siltstone.errors import InvalidInput, NotFound, SiltstoneError, Transient
from typer.core import TyperGroup

from siltstone_cli.console import problems

FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130

_LOG_IN = "Log in again (aws sso login, or your own way), and check AWS_PROFILE."
_REMEDIES = {
    "NoCredentialsError": "Set AWS_PROFILE or log in (aws sso login); --local needs no account.",
    "PartialCredentialsError": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY both, or AWS_PROFILE.",
    "CredentialRetrievalError": _LOG_IN,
    "NoRegionError": "Set AWS_REGION to the stage's region.",
    "ProfileNotFound": "`aws configure list-profiles` shows those that exist; AWS_PROFILE names one.",
    "EndpointConnectionError": "Check the network and AWS_REGION.",
    "ConnectTimeoutError": "Check the network and AWS_REGION.",
    "ExpiredToken": _LOG_IN,
    "ExpiredTokenException": _LOG_IN,
    "InvalidClientTokenId": _LOG_IN,
    "UnrecognizedClientException": _LOG_IN,
    "TokenRetrievalError": _LOG_IN,
    "SSOTokenLoadError": _LOG_IN,
    "UnauthorizedSSOTokenError": _LOG_IN,
    "AccessDenied": "These credentials may not do it: docs/operations.md lists the rights that the command needs.",
    "AccessDeniedException": "These credentials may not do it: docs/operations.md lists the rights that it needs.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "SignatureDoesNotMatch": "The secret key is wrong, or this machine's clock is.",
}


class TargetMissing(NotFound):
    """Nothing answers where the command was sent: no stage of this name, or no local stack that runs."""


class BadUsage(InvalidInput):
    """Options that contradict each other, or one that is missing."""


class Commands(TyperGroup):
    """A command group whose commands end with a sentence and an exit code instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Only what is no error of the family, nor of AWS, is left to show where it came from."""
        try:
            return super().invoke(ctx)
        except (SiltstoneError, BotoCoreError, ClientError) as error:
            problems.print(f"[red]{type(error).__name__}[/]: {escape(sentence(error))}", soft_wrap=True)
            raise typer.Exit(code_of(error)) from error
        except KeyboardInterrupt as error:
            problems.print("Stopped; nothing is left half done.")
            raise typer.Exit(INTERRUPTED) from error


def code_of(error: Exception) -> int:
    """The exit code of an error."""
    if isinstance(error, BotoCoreError | ClientError | Transient | TargetMissing):
        return UNREACHABLE
    if isinstance(error.__cause__, ClientError) and not isinstance(
        error, NotFound
    ):  # not allowed, or no such bucket: the stores call it a wrong setting
        return UNREACHABLE
    return USAGE if isinstance(error, InvalidInput | NotFound) else FAILED


def sentence(error: Exception) -> str:
    """What happened and what to do about it, in one line. AWS's own errors say only the first."""
    text = " ".join(str(error).split())
    code = str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
    remedy = _REMEDIES.get(code or type(error).__name__, "")
    return f"{text.rstrip('.')}. {remedy}" if remedy else text
