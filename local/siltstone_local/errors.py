"""What can go wrong on the local stack. Part of the one family, so that the command line treats them alike."""

from __future__ import annotations

from siltstone.errors import NotFound, Refused


class EmulatorNotInstalled(NotFound):
    """The emulator's own virtual environment is missing or broken."""


class EmulatorNotStarted(Refused):
    """The emulator's port is taken, its folder is in use, it exited, or it did not become ready in time."""


class NodeMissing(NotFound):
    """Neither the machine nor the virtual environment has a Node, which CDK's runtime needs."""


class SynthFailed(Refused):
    """The CDK app raised; the message has the end of what it printed."""


class TemplateUnsupported(Refused):
    """The synthesized template has something that the local stack can't run; the message names the resource."""


class DeployFailed(Refused):
    """A stack did not deploy; the message has each failed resource with its reason."""


class UnknownName(NotFound):
    """The deployment has no such function, machine or output, or several; the message lists what there is."""


class ExecutionFailed(Refused):
    """An execution did not succeed.

    ``status``: ``FAILED``, ``TIMED_OUT``, ``ABORTED`` (or ``RUNNING`` where the caller's patience ended).
    ``state``: the last state that failed. ``error`` and ``cause``: the execution's own.
    """

    def __init__(self, *, machine: str, execution: str, status: str, state: str, error: str, cause: str) -> None:
        where = f" in {state}" if state else ""
        super().__init__(
            f"The execution {execution} of {machine} ended {status}{where}: {error or 'no error name'}: {cause}",
            remedy="Look at its history and the function's log.",
        )
        self.machine = machine
        self.execution = execution
        self.status = status
        self.state = state
        self.error = error
        self.cause = cause


class DemoFailed(Refused):
    """The demo can't go on; the message says why. What was loaded and embedded stays in its state."""
