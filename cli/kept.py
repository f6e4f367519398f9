"""The documents of a run as the bucket still has them: there, archived, or gone. Runs on a person's machine."""

import json
import time
from dataclasses import dataclass

import boto3
from botocore.exceptions import ClientError

from cli.stack import Stack
from contracts.documents import Document
from contracts.layout import ARCHIVED_DAYS, KEPT_DAYS
from contracts.plain import plain_document
from lambdas.core.records import RunRecord

_GONE = ("NoSuchKey", "404", "NotFound")
_ARCHIVED = "InvalidObjectState"
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Kept:
    """A document of a run, {} with the reason why there is none, "" when there never was one."""

    document: Document
    problem: str = ""


def read(stack: Stack, record: RunRecord, name: str) -> Kept:
    """Return a document below a run's prefix, its text made harmless for a terminal."""
    try:
        body = boto3.client("s3").get_object(Bucket=stack.bucket, Key=record.prefix + name)["Body"].read()
    except ClientError as error:
        return Kept({}, _why(str(error.response["Error"]["Code"]), record, name))
    try:
        document = plain_document(json.loads(body))
    except (ValueError, RecursionError):
        return Kept({}, f"{name} is no JSON document.")
    return Kept(document) if isinstance(document, dict) else Kept({}, f"{name} is no JSON object.")


def _why(code: str, record: RunRecord, name: str) -> str:
    if code == _ARCHIVED:
        return (
            f"{name} is archived, as all files of a run are {ARCHIVED_DAYS} days after they were written; "
            f"they are deleted after {KEPT_DAYS}. To read it, restore it: docs/operations.md, Keeping results."
        )
    if code not in _GONE:
        return f"{name} could not be read: {code}."
    if record.ended_at and time.time() - record.ended_at > KEPT_DAYS * _DAY_SECONDS:
        return f"{name} is gone: the files of a run are deleted {KEPT_DAYS} days after they were written."
    return f"{name} is missing, though the run completed." if record.status == "completed" else ""
