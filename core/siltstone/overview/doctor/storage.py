"""Where everything is kept: buckets, tables, queues and the secret are as the stack made them."""

from __future__ import annotations

from collections.abc import Iterable

from siltstone import keys
from siltstone.overview.doctor.check import Check, Level, Patient, verdict

_NEVER_EXPIRE = {
    "DeltaBucketName": (keys.DELTAS, keys.LEGACY_CHROMA_DELTAS, keys.QUARANTINE, keys.SOURCES),
    "SnapshotBucketName": (keys.SNAPSHOTS, keys.ALIASES, keys.PAUSED),
}
_TABLES = ("LockTableName", "LedgerTableName", "SourceTableName")


def versioning(patient: Patient) -> Iterable[Check]:
    for output in _NEVER_EXPIRE:
        name = patient.output(output)
        if not patient.account.bucket(name).versioned:
            yield verdict("problem", f"{name} is not versioned", "Switch it on: what is retired could not come back.")
        else:
            yield verdict("ok", f"{name} is versioned")


def lifecycle(patient: Patient) -> Iterable[Check]:
    for output, kept in _NEVER_EXPIRE.items():
        name = patient.output(output)
        rules = patient.account.bucket(name).rules
        if rules is None:
            yield verdict("warning", f"{name} has no lifecycle: it only grows", "Deploy the stage again.")
            continue
        eating = [
            rule
            for rule in rules
            if rule.enabled
            and rule.expires
            and any(prefix.startswith(rule.prefix) or rule.prefix.startswith(prefix) for prefix in kept)
        ]
        for rule in eating:
            yield verdict(
                "problem",
                f"{name}: the rule {rule.rule_id!r} deletes what is current under {rule.prefix or 'every prefix'!r}",
                "Remove the rule: age alone must never delete a delta or a version.",
            )
        off = [rule.rule_id for rule in rules if not rule.enabled]
        if off:
            yield verdict("warning", f"{name}: switched off: {', '.join(off)}", "Deploy the stage again.")
        if not eating and not off:
            yield verdict("ok", f"{name}: {len(rules)} rules, none of them deletes what is current and still needed")


def tables(patient: Patient) -> Iterable[Check]:
    for output in _TABLES:
        status = patient.account.table(patient.output(output)).status
        level: Level = "ok" if status == "ACTIVE" else "warning" if status == "UPDATING" else "problem"
        yield verdict(level, f"{patient.output(output)}: {status}", "Look at it in the console.")


def recovery(patient: Patient) -> Iterable[Check]:
    names = [patient.output(name) for name in _TABLES]
    off = [name for name in names if not patient.account.table(name).recoverable]
    for name in off:
        yield verdict("warning", f"{name} has no point-in-time recovery", "Deploy the stage again.")
    if not off:
        yield verdict("ok", "every table has point-in-time recovery")


def queues(patient: Patient) -> Iterable[Check]:
    hints = patient.account.queue(patient.output("DeltaQueueUrl"))
    yield verdict("ok", f"{hints.waiting} hints wait, {hints.in_flight} are being worked on")
    dead = patient.account.queue(patient.output("DeadLetterQueueUrl"))
    yield verdict(
        "warning" if dead.waiting else "ok",
        f"{dead.waiting} dead letters",
        "They are no hints, or compaction could not be started: look at them, then purge the queue. No delta is lost.",
    )


def secret(patient: Patient) -> Iterable[Check]:
    found = patient.account.secret(patient.output("OpenAiSecretArn"))
    put = f"aws secretsmanager put-secret-value --secret-id {patient.output('OpenAiSecretArn')} --secret-string sk-..."
    if not found.filled:
        yield verdict("problem", "the provider's key has no value", put)
    elif found.untouched:
        yield verdict("problem", "the provider's key is still the random word that the stack made", put)
    else:
        yield verdict("ok", "the provider's key has a value")
