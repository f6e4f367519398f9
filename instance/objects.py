"""Copy objects from and to S3, in parallel, each proven by size and checksum. Runs on the instance."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from instance.downloads import Download, Downloads
from instance.uploads import Artifact, Uploads

# An answer of S3 takes some 30 ms, so more threads than cores; beyond this many they wait for each other.
THREADS = 16
TRIES = 4
FIRST_PAUSE_SECONDS = 0.5

OnBytes = Callable[[int], None]


def s3_client(read_timeout_seconds: int = 30) -> Any:
    """Return an S3 client that gives up on a dead connection and retries what can be retried."""
    config = Config(
        connect_timeout=5,
        read_timeout=read_timeout_seconds,
        retries={"mode": "standard", "max_attempts": 4},
        max_pool_connections=THREADS,
    )
    return boto3.client("s3", config=config)


def download_all(
    client: Any, bucket: str, objects: Sequence[tuple[dict[str, Any], Path]], on_bytes: OnBytes
) -> list[Download]:
    """Download objects in parallel, large ones in parts.

    Parameters
    ----------
    client, bucket
        Where from.
    objects : sequence of (reference, path)
        References as in manifest.json (key, bytes, etag) and where each goes.
    on_bytes : callable
        Called with the number of bytes that arrived since its last call, from several threads; negative when a
        download starts over.

    Returns
    -------
    list of Download
        In the order of `objects`.

    Raises
    ------
    DataSyncFailed
        An object is gone, was changed since the run was accepted, does not arrive intact, or finds no room.
    """
    return Downloads(client, bucket, on_bytes, _pauses_seconds(), THREADS).run(objects)


def upload_all(
    client: Any, bucket: str, prefix: str, files: Sequence[tuple[str, Path]], on_file: OnBytes
) -> list[Artifact]:
    """Upload files in parallel with a SHA-256 that S3 checks, then read the checksum back and compare.

    Parameters
    ----------
    client, bucket, prefix
        Where to; `prefix` ends with a slash.
    files : sequence of (path below the prefix, file)
        What to upload.
    on_file : callable
        Called with 1 after each file.

    Returns
    -------
    list of Artifact
        In the order of `files`.

    Raises
    ------
    ResultsSyncFailed
        A file could not be uploaded, or S3 holds something else.
    """
    return Uploads(client, bucket, prefix, on_file, _pauses_seconds(), THREADS).run(files)


def put_verified(client: Any, bucket: str, key: str, body: bytes) -> str:
    """Put `body` with its SHA-256 for S3 to check, and return it (hex)."""
    digest = hashlib.sha256(body)
    checksum = base64.b64encode(digest.digest()).decode()
    client.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum)
    return digest.hexdigest()


def _pauses_seconds() -> list[float]:
    return [FIRST_PAUSE_SECONDS * 2**attempt for attempt in range(TRIES)]
