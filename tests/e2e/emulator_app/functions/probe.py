"""A function that does one small real thing per operation, so that a test can see what the emulator makes of it."""

import os
import sys
import time
from pathlib import Path

import boto3


class Collapsed(Exception):
    pass


def handler(event, context):
    print(f"operation {event['operation']}")  # noqa: T201 - its log is what a test reads
    return _OPERATIONS[event["operation"]](event)


def _store(event):
    boto3.client("s3").put_object(Bucket=os.environ["BUCKET"], Key=event["key"], Body=b"stored")
    boto3.client("dynamodb").put_item(TableName=os.environ["TABLE"], Item={"id": {"S": event["key"]}})
    return {"stored": event["key"]}


def _fail(event):
    raise Collapsed(f"{event.get('item', 'it')} collapsed")


def _fail_odd(event):
    if event["item"] % 2:
        _fail(event)
    return {"item": event["item"]}


def _crash(event):
    os.kill(os.getpid(), 9)


def _leave(event):
    sys.exit(3)


def _sleep(event):
    time.sleep(event["seconds"])
    return {"slept": event["seconds"], "pid": os.getpid()}


def _describe(event):
    scratch = Path(os.environ["SCRATCH_DIR"])
    (scratch / "mine").write_text("x")
    return {"pid": os.getpid(), "python": sys.executable, "environment": dict(os.environ), "scratch": str(scratch)}


_OPERATIONS = {
    "store": _store,
    "fail": _fail,
    "fail_odd": _fail_odd,
    "crash": _crash,
    "leave": _leave,
    "sleep": _sleep,
    "describe": _describe,
}
