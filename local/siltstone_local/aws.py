"""The emulated AWS as boto3 sees it: one account, one region, credentials that open nothing else."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

REGION = "us-east-1"
ACCOUNT = "000000000000"
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


def aws_client(service: str, endpoint: str) -> Any:
    """A boto3 client of the emulated AWS at ``endpoint``, whatever the caller's profile and environment say."""
    config = Config(
        retries={"total_max_attempts": 3, "mode": "standard"},
        connect_timeout=5,
        read_timeout=120,
        max_pool_connections=32,
        proxies={},
        s3={"addressing_style": "path"},
    )
    return boto3.Session(region_name=REGION, **CREDENTIALS).client(service, endpoint_url=endpoint, config=config)
