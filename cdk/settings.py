"""A stage's settings: read from cdk.json, typed and checked; a wrong one is an error that names setting and stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from siltstone.errors import BadSettings, InvalidInput
from siltstone.keys import check_collection
from siltstone.settings import CollectionBook, CollectionSettings

FunctionName = Literal[
    "list_collections",
    "acquire_lock",
    "renew_lock",
    "download",
    "merge",
    "upload",
    "promote_pointer",
    "retire",
    "release_lock",
    "plan_batches",
    "submit_batch",
    "poll_batch",
    "create_delta",
    "record_outcome",
    "query",
    "embed_now",
    "start_compaction",
]
LogDays = Literal[1, 7, 14, 30, 90, 365]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FunctionSettings(_Model):
    """Differences from a function's own size (`cdk.functions.SIZES`); what is left out stays as it is."""

    memory_mb: int | None = Field(default=None, ge=128, le=10_240)
    timeout_seconds: int | None = Field(default=None, ge=3, le=900)
    disk_mb: int | None = Field(default=None, ge=512, le=10_240)
    reserved_concurrency: int | None = Field(default=None, ge=1)


class StorageSettings(_Model):
    """How long S3 keeps what is no longer current. No setting makes a pending delta or a quarantined one expire."""

    recover_days: int = Field(default=15, ge=1)  # noncurrent versions: what was retired can be brought back
    batches_to_infrequent_access_days: int = Field(default=30, ge=30)  # S3's own minimum for the class
    # Files of finished batches. S3 knows an object's age, not whether its batch is settled, so the least is far beyond
    # a batch's life (days), and the default keeps them: they are the proof of what was sent and paid for.
    batches_expire_days: int | None = Field(default=None, ge=90)


class TriggerSettings(_Model):
    """What starts the machines."""

    compact_every_minutes: int = Field(default=60, ge=5, le=720)
    hint_window_seconds: int = Field(default=300, ge=0, le=300)  # hints are gathered this long; Lambda's most is 300
    plan_every_minutes: int | None = Field(default=None, ge=5)  # plan batches on a schedule; None: started by hand


class AlarmSettings(_Model):
    """When somebody should look. ``topic_arn``: an SNS topic of the account that is told."""

    topic_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]+$")
    pending_deltas: int = Field(default=200, ge=1)
    busy_locks_per_hour: int = Field(default=3, ge=1)


class StageSettings(CollectionBook):
    """One stage: its collections, and the resources around them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    account: str | None = Field(default=None, pattern=r"^\d{12}$")  # None: whatever account deploys it
    region: str | None = Field(default=None, pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    retain: bool = True  # buckets, tables and secret outlive the stack, and the stack refuses to be deleted
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    log_days: LogDays = 30
    openai_secret: str | None = None  # name or ARN of a secret that exists; None: the stack makes an empty one
    openai_base_url: str | None = Field(default=None, pattern=r"^https?://")
    storage: StorageSettings = StorageSettings()
    triggers: TriggerSettings = TriggerSettings()
    alarms: AlarmSettings = AlarmSettings()
    functions: dict[FunctionName, FunctionSettings] = Field(default_factory=dict)

    @field_validator("collections")
    @classmethod
    def _usable_names(cls, collections: dict[str, CollectionSettings]) -> dict[str, CollectionSettings]:
        for name in collections:
            try:
                check_collection(name.replace("*", "any"))
            except InvalidInput as error:
                raise ValueError(str(error)) from error
        return collections

    @model_validator(mode="after")
    def _contention_alarm_can_fire(self) -> StageSettings:
        """One collection is tried once by each scheduled run and once by each window of hints, at the very most."""
        starts = 60 // self.triggers.compact_every_minutes + 3600 // max(1, self.triggers.hint_window_seconds)
        if self.alarms.busy_locks_per_hour > starts:
            raise ValueError(f"alarms.busy_locks_per_hour can never be reached: at most {starts} runs start in an hour")
        return self

    def collections_json(self) -> str:
        """What the functions read with `CollectionBook.parse`: every collection by name, defaults left out."""
        book = {name: getattr(self, name) for name in CollectionBook.model_fields}
        found = CollectionBook(**book).model_dump(mode="json", exclude_defaults=True)
        found["collections"] = {
            name: settings.model_dump(mode="json", exclude_defaults=True) for name, settings in self.collections.items()
        }
        return json.dumps(found, separators=(",", ":"))


def stages(path: Path) -> dict[str, Any]:
    """The raw settings by stage. Raises `BadSettings`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["stages"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadSettings(f"{path.name} has no 'stages' that can be read: {error!r}.", remedy="Restore it.") from error
    if not isinstance(found, dict):
        raise BadSettings(f"'stages' in {path.name} must be an object by stage name.", remedy="Correct it.")
    return found


def load_stage(path: Path, stage: str | None) -> StageSettings:
    """Settings of ``stage``. Raises `BadSettings` naming the setting and the stage."""
    known = stages(path)
    names = ", ".join(sorted(known))
    if not stage:
        raise BadSettings("No stage was named.", remedy=f"Give -c stage=NAME or STAGE=NAME, one of {names}.")
    if stage not in known:
        raise BadSettings(f"Stage {stage!r} is unknown.", remedy=f"Use one of {names}, or add it to {path.name}.")
    try:
        # Strict JSON: "60" is not 60 and 1 is not true, but a list stands for a tuple.
        return StageSettings.model_validate_json(json.dumps(known[stage]))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]") or "alarms"
        reason = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise BadSettings(
            f"Stage {stage!r}, setting {where!r}: {reason}.", remedy=f"Correct it in {path.name}."
        ) from error
