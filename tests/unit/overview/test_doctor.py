"""What the doctor says of a healthy stage, of each thing that can be wrong with one, and of what it may not ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from siltstone.clock import ManualClock
from siltstone.compaction.pauses import pause
from siltstone.errors import StoreUnavailable
from siltstone.overview.doctor.check import Check, Patient
from siltstone.overview.doctor.examine import CHECKS, examine
from siltstone.stores.account import Bucket, Concurrency, LifecycleRule, NotAllowed, NotThere, Queue, Secret, Table
from siltstone.stores.machines import MemoryMachine

from tests.unit.scrub.house import House

OUTPUTS = {
    name: f"the-{name}"
    for name in (
        "DeltaBucketName", "SnapshotBucketName", "LockTableName", "LedgerTableName", "SourceTableName",
        "DeltaQueueUrl", "DeadLetterQueueUrl", "OpenAiSecretArn", "StartCompactionFunction", "MergeFunction",
        "QueryFunction",
    )
} | {"Release": "1.0"}  # fmt: skip
GOOD_RULES = (
    LifecycleRule("expire-staging", "staging/", enabled=True, expires=True),
    LifecycleRule("recover-versions", "snapshots/", enabled=True, expires=False),
    LifecycleRule("keep-batches", "batches/", enabled=True, expires=True),
)


class StillAccount:
    """An account that answers what a test says."""

    region = "eu-central-1"

    def __init__(self, **wrong: Any) -> None:
        self.stack = "UPDATE_COMPLETE"
        self.limits = Concurrency(1_000, 900)
        self.buckets = Bucket(versioned=True, rules=GOOD_RULES)
        self.tables = Table("ACTIVE", recoverable=True)
        self.hints, self.dead = Queue(3, 1), Queue(0, 0)
        self.key = Secret(filled=True, untouched=False)
        self.scheduled, self.mapping = "ENABLED", "Enabled"
        self.asked: list[str] = []
        assert wrong.keys() <= self.__dict__.keys()
        self.__dict__ |= wrong

    def caller(self) -> str:
        return "arn:aws:iam::123456789012:user/eve"

    def stack_status(self, stack: str) -> str:
        return self.stack

    def concurrency(self) -> Concurrency:
        return self.limits

    def memory_mb(self, function: str) -> int:
        return 3_008

    def bucket(self, name: str) -> Bucket:
        return self.buckets

    def table(self, name: str) -> Table:
        return self.tables

    def queue(self, url: str) -> Queue:
        return self.dead if "Dead" in url else self.hints

    def secret(self, secret: str) -> Secret:
        return self.key

    def schedule(self, name: str) -> str:
        self.asked.append(name)
        return self.scheduled

    def event_source(self, function: str) -> str:
        return self.mapping


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.write("a")
    house.compact()
    return house


@pytest.fixture
def patient(house: House) -> Patient:
    manifest = house.manifest(house.current or "")
    return Patient(
        stack="siltstone-dev",
        outputs=OUTPUTS,
        account=StillAccount(),
        stores=house.stores,
        machines={"compaction": MemoryMachine(), "embedding": MemoryMachine()},
        clock=house.clock,
        here={"siltstone": "1.0", "chromadb": manifest.libraries["chromadb"], "boto3": "1"},
    )


def found(patient: Patient) -> dict[str, Check]:
    """What is not ok, the worst by each check's name."""
    checks = [check for check in examine(patient) if check.level != "ok"]
    return {check.name: check for check in sorted(checks, key=lambda check: LEVELS.index(check.level))}


LEVELS = ("not checked", "warning", "problem")


def test_a_healthy_stage_is_ok_line_by_line(patient: Patient) -> None:
    checks = list(examine(patient))
    assert {check.level for check in checks} == {"ok"}, [check for check in checks if check.level != "ok"]
    assert list(dict.fromkeys(check.name for check in checks)) == list(CHECKS)
    assert "user/eve, region eu-central-1" in checks[0].detail
    assert not any(check.remedy for check in checks)


def test_the_secrets_value_is_in_no_line_and_is_not_asked_for() -> None:
    assert not hasattr(StillAccount, "secret_value")
    assert set(Secret.__dataclass_fields__) == {"filled", "untouched"}


@pytest.mark.parametrize(
    ("name", "level", "wrong"),
    [
        ("stack", "warning", {"stack": "UPDATE_ROLLBACK_COMPLETE"}),
        ("stack", "warning", {"stack": "UPDATE_IN_PROGRESS"}),
        ("stack", "problem", {"stack": "DELETE_COMPLETE"}),
        ("stack", "problem", {"stack": "CREATE_FAILED"}),
        ("triggers", "problem", {"scheduled": "DISABLED"}),
        ("triggers", "warning", {"mapping": "Disabled"}),
        ("versioning", "problem", {"buckets": Bucket(versioned=False, rules=GOOD_RULES)}),
        ("lifecycle", "warning", {"buckets": Bucket(versioned=True, rules=None)}),
        ("tables", "problem", {"tables": Table("INACCESSIBLE_ENCRYPTION_CREDENTIALS", recoverable=True)}),
        ("tables", "warning", {"tables": Table("UPDATING", recoverable=True)}),
        ("recovery", "warning", {"tables": Table("ACTIVE", recoverable=False)}),
        ("queues", "warning", {"dead": Queue(2, 0)}),
        ("secret", "problem", {"key": Secret(filled=False, untouched=False)}),
        ("secret", "problem", {"key": Secret(filled=True, untouched=True)}),
        ("concurrency", "warning", {"limits": Concurrency(10, 10)}),
    ],
    ids=str,
)
def test_each_thing_that_is_wrong_is_one_finding_with_a_remedy(
    patient: Patient, name: str, level: str, wrong: dict[str, Any]
) -> None:
    sick = found(replace(patient, account=StillAccount(**wrong)))
    assert {check: sick[check].level for check in sick} == {name: level}
    assert sick[name].remedy


@pytest.mark.parametrize("prefix", ["", "deltas/", "deltas/lines/", "d", "snapshots/", "paused/", "sources/receipt/"])
def test_a_rule_that_deletes_by_age_what_is_still_needed_is_a_problem(patient: Patient, prefix: str) -> None:
    rule = LifecycleRule("tidy", prefix, enabled=True, expires=True)
    sick = found(replace(patient, account=StillAccount(buckets=Bucket(versioned=True, rules=(rule,)))))
    assert (sick["lifecycle"].level, "'tidy'" in sick["lifecycle"].detail) == ("problem", True)


def test_a_rule_that_is_switched_off_deletes_nothing_and_is_missed(patient: Patient) -> None:
    rule = LifecycleRule("expire-staging", "staging/", enabled=False, expires=True)
    everything = LifecycleRule("tidy", "", enabled=False, expires=True)
    sick = found(replace(patient, account=StillAccount(buckets=Bucket(versioned=True, rules=(rule, everything)))))
    assert sick["lifecycle"].level == "warning"


@pytest.mark.parametrize(("seconds", "level"), [(1, None), (-29, None), (40, "warning"), (-301, "problem")])
def test_a_clock_that_is_wrong(patient: Patient, house: House, seconds: float, level: str | None) -> None:
    wrong = ManualClock(house.clock.now() + seconds)
    sick = found(replace(patient, clock=wrong))
    assert (sick["clock"].level if "clock" in sick else None) == level


def test_another_release_or_another_chromadb_is_a_warning(patient: Patient) -> None:
    sick = found(replace(patient, here={**patient.here, "siltstone": "1.1", "chromadb": "9"}))
    assert {name: check.level for name, check in sick.items()} == {"stack": "warning", "libraries": "warning"}
    assert "release 1.0 is deployed, 1.1 is here" in sick["stack"].detail
    assert "lines" in sick["libraries"].detail


def test_a_pause_is_not_forgotten(patient: Patient, house: House) -> None:
    pause("lines", house.stores, house.clock, reason="moving the bucket")
    check = found(patient)["pauses"]
    assert (check.level, check.remedy) == ("warning", "siltstone compact resume lines")
    assert "moving the bucket" in check.detail


@pytest.mark.parametrize(("index_mb", "level"), [(400, None), (1_200, "warning"), (2_000, "problem")])
def test_a_function_that_is_too_small_for_what_is_stored(
    patient: Patient, house: House, index_mb: int, level: str | None
) -> None:
    manifest = house.manifest(house.current or "")
    index = manifest.files[0].model_copy(update={"path": "segment/data_level0.bin", "size": index_mb * 2**20})
    house.write_manifest(manifest.model_copy(update={"files": [index]}))
    sick = found(patient)
    assert (sick["memory"].level if "memory" in sick else None) == level
    if level:
        assert "lines asks for about" in sick["memory"].detail


def test_a_machine_that_is_being_deleted(patient: Patient) -> None:
    machine = MemoryMachine()
    machine.status = lambda: "DELETING"  # type: ignore[method-assign]
    assert found(replace(patient, machines={"compaction": machine}))["machines"].level == "problem"


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (NotAllowed("lambda get_account_settings: AccessDenied.", remedy="Allow it."), "not checked"),
        (NotThere("It is gone.", remedy="Deploy the stage again."), "problem"),
        (StoreUnavailable("No answer.", remedy="Try again."), "problem"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cant_be_asked_says_so_and_the_rest_goes_on(patient: Patient, error: Exception, level: str) -> None:
    account = StillAccount()
    account.concurrency = raising(error)  # type: ignore[method-assign]
    checks = {check.name: check for check in examine(replace(patient, account=account))}
    assert (checks["concurrency"].level, checks["memory"].level) == (level, "ok")
    assert str(error.args[0]).split(".")[0] in checks["concurrency"].detail


def test_what_the_emulated_aws_lacks_is_not_checked_with_the_reason(patient: Patient) -> None:
    lacking = {"lifecycle": "it has none"}
    sick = found(replace(patient, lacking=lacking, account=StillAccount(buckets=Bucket(versioned=True, rules=None))))
    assert [(check.level, check.detail) for check in sick.values()] == [("not checked", "it has none")]


def test_a_stack_of_an_older_release_says_which_output_it_lacks(patient: Patient) -> None:
    outputs = {name: value for name, value in OUTPUTS.items() if name not in {"Release", "DeadLetterQueueUrl"}}
    sick = found(replace(patient, outputs=outputs))
    assert "DeadLetterQueueUrl" in sick["queues"].detail
    assert "an older release" in sick["stack"].detail


def test_the_schedule_is_looked_for_under_the_name_that_the_stack_gives_it(patient: Patient) -> None:
    account = StillAccount()
    list(examine(replace(patient, account=account)))
    assert account.asked == ["siltstone-dev-compact"]
