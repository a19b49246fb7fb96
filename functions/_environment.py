"""The functions' environment variables as one typed model. `cdk/functions.py` sets them."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from siltstone.errors import BadSettings


class Environment(BaseModel):
    """Names of what the stage owns. Secrets are named by ARN, never held here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: str = Field(alias="SILTSTONE_STAGE")
    delta_bucket: str = Field(alias="DELTA_BUCKET")
    snapshot_bucket: str = Field(alias="SNAPSHOT_BUCKET")
    lock_table: str = Field(alias="LOCK_TABLE")
    ledger_table: str = Field(alias="LEDGER_TABLE")
    source_table: str = Field(alias="SOURCE_TABLE")
    delta_queue_url: str = Field(alias="DELTA_QUEUE_URL")
    collections: str = Field(default="{}", alias="SILTSTONE_COLLECTIONS")
    openai_secret_arn: str | None = Field(default=None, alias="OPENAI_SECRET_ARN")
    openai_base_url: str | None = Field(default=None, alias="OPENAI_BASE_URL")
    compaction_machine_arn: str | None = Field(default=None, alias="COMPACTION_MACHINE_ARN")
    scratch_dir: Path = Field(default=Path("/tmp/siltstone"), alias="SCRATCH_DIR")  # noqa: S108 - Lambda's only disk


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Read the environment once per process. Raises `BadSettings` naming the variable."""
    try:
        return Environment.model_validate(dict(os.environ))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadSettings(f"Environment variable {name}: {first['msg']}.", remedy="Deploy the stage again.") from error
