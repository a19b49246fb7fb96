"""Every check, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from siltstone.errors import SiltstoneError
from siltstone.overview.doctor import platform, running, storage
from siltstone.overview.doctor.check import Check, Patient
from siltstone.stores.account import NotAllowed

CHECKS: dict[str, Callable[[Patient], Iterable[Check]]] = {
    "credentials": platform.credentials,
    "clock": platform.clock,
    "stack": platform.stack,
    "libraries": platform.libraries,
    "machines": running.machines,
    "triggers": running.triggers,
    "pauses": running.pauses,
    "versioning": storage.versioning,
    "lifecycle": storage.lifecycle,
    "tables": storage.tables,
    "recovery": storage.recovery,
    "queues": storage.queues,
    "secret": storage.secret,
    "concurrency": platform.concurrency,
    "memory": platform.memory,
}


def examine(patient: Patient) -> Iterator[Check]:
    """Every check in order, as soon as it is made. Raises nothing of the family: what can't be asked says why."""
    for name, check in CHECKS.items():
        if name in patient.lacking:
            yield Check(name=name, level="not checked", detail=patient.lacking[name])
            continue
        try:
            yield from (each.model_copy(update={"name": name}) for each in check(patient))
        except NotAllowed as error:
            yield Check(name=name, level="not checked", detail=f"not permitted: {error.message}", remedy=error.remedy)
        except SiltstoneError as error:
            yield Check(name=name, level="problem", detail=error.message, remedy=error.remedy)
