"""Copy objects from and to S3, in parallel, each proven by size and checksum. Runs on the instance."""

import base64
import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError

from contracts.reasons import DataSyncFailed, ResultsSyncFailed
from instance.checksums import CHUNK_BYTES, file_sha256

THREADS = 8
TRIES = 4
FIRST_PAUSE_SECONDS = 0.5
MISSING = ("404", "NoSuchKey", "NotFound", "403", "AccessDenied")

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Download:
    """An object on disk: its key, its file, the SHA-256 of its bytes (hex), and how often it had to be asked again."""

    key: str
    path: Path
    bytes: int
    sha256: str
    retries: int


@dataclass(frozen=True)
class Artifact:
    """An uploaded file as training.json lists it: path below the run's prefix, size, SHA-256 (hex)."""

    path: str
    bytes: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of training.json."""
        return asdict(self)


def s3_client(read_timeout_seconds: int = 30) -> Any:
    """Return an S3 client that gives up on a dead connection and retries what can be retried."""
    return boto3.client(
        "s3",
        config=Config(
            connect_timeout=5,
            read_timeout=read_timeout_seconds,
            retries={"mode": "standard", "max_attempts": 4},
            max_pool_connections=2 * THREADS,
        ),
    )


def download_all(
    client: Any, bucket: str, objects: Sequence[tuple[dict[str, Any], Path]], on_bytes: OnBytes
) -> list[Download]:
    """Download objects in parallel.

    Parameters
    ----------
    client, bucket
        Where from.
    objects : sequence of (reference, path)
        References as in manifest.json (key, bytes, etag) and where each goes.
    on_bytes : callable
        Called with the number of bytes that arrived since its last call, from several threads; negative when a
        download starts over.

    Raises
    ------
    DataSyncFailed
        An object is gone, was changed since the run was accepted, or does not arrive intact.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(_download, client, bucket, reference, path, on_bytes) for reference, path in objects]
        return [job.result() for job in jobs]


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

    Raises
    ------
    ResultsSyncFailed
        A file could not be uploaded, or S3 holds something else.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(_upload, client, bucket, prefix, file, on_file) for file in files]
        return [job.result() for job in jobs]


def put_verified(client: Any, bucket: str, key: str, body: bytes) -> str:
    """Put `body` with its SHA-256 for S3 to check, and return it (hex)."""
    digest = hashlib.sha256(body)
    checksum = base64.b64encode(digest.digest()).decode()
    client.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum)
    return digest.hexdigest()


def _download(client: Any, bucket: str, reference: dict[str, Any], path: Path, on_bytes: OnBytes) -> Download:
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(TRIES):
        received = _Counter(on_bytes)
        try:
            sha256 = _fetch(client, bucket, reference, path, received)
            return Download(reference["key"], path, received.total, sha256, attempt)
        except ClientError as error:
            if error.response["Error"]["Code"] in MISSING:
                raise DataSyncFailed(f"{reference['key']}: expected the object of the manifest, found none.") from error
            last: Exception = error
        except (BotoCoreError, FlexibleChecksumError, OSError) as error:
            last = error
        received.undo()
        time.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
    raise DataSyncFailed(f"{reference['key']}: expected an intact copy in {TRIES} tries, found: {last}") from last


def _fetch(client: Any, bucket: str, reference: dict[str, Any], path: Path, received: "_Counter") -> str:
    response = client.get_object(Bucket=bucket, Key=reference["key"], ChecksumMode="ENABLED")
    found = (response["ContentLength"], response["ETag"].strip('"'))
    expected = (reference["bytes"], reference["etag"].strip('"'))
    if found != expected:
        raise DataSyncFailed(
            f"{reference['key']}: expected {expected[0]} bytes with ETag {expected[1]} as when the run was accepted, "
            f"found {found[0]} bytes with {found[1]}. Somebody changed the object; start again."
        )
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in response["Body"].iter_chunks(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
            received.add(len(chunk))
    _check_arrived(reference, response, digest, received.total)
    return digest.hexdigest()


def _check_arrived(reference: dict[str, Any], response: dict[str, Any], digest: Any, received: int) -> None:
    if received != reference["bytes"]:
        raise OSError(f"{received} of {reference['bytes']} bytes arrived")
    stored = response.get("ChecksumSHA256")
    # The checksum of a multipart upload is a hash of hashes, with the number of parts after a dash.
    whole = stored and "-" not in stored
    if whole and stored != base64.b64encode(digest.digest()).decode():
        raise OSError("the SHA-256 of the bytes is not the one S3 holds")


def _upload(client: Any, bucket: str, prefix: str, file: tuple[str, Path], on_file: OnBytes) -> Artifact:
    name, path = file
    artifact = Artifact(name, path.stat().st_size, file_sha256(path))
    checksum = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    last: Exception | None = None
    for attempt in range(TRIES):
        try:
            with path.open("rb") as body:
                client.put_object(
                    Bucket=bucket, Key=prefix + name, Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum
                )
            _check_stored(client, bucket, prefix + name, artifact)
            on_file(1)
            return artifact
        except (ClientError, BotoCoreError, OSError) as error:
            last = error
            time.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
    raise ResultsSyncFailed(f"{name}: expected an intact upload in {TRIES} tries, found: {last}") from last


def _check_stored(client: Any, bucket: str, key: str, artifact: Artifact) -> None:
    head = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    stored = head.get("ChecksumSHA256")
    found = base64.b64decode(stored).hex() if stored else _sha256_of_object(client, bucket, key)
    if (head["ContentLength"], found) != (artifact.bytes, artifact.sha256):
        raise OSError(f"S3 holds {head['ContentLength']} bytes with SHA-256 {found}, not what was uploaded")


def _sha256_of_object(client: Any, bucket: str, key: str) -> str:
    digest = hashlib.sha256()
    for chunk in client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


class _Counter:
    """Counts the bytes of one try, so that a failed one can be taken back."""

    def __init__(self, on_bytes: OnBytes) -> None:
        self.on_bytes = on_bytes
        self.total = 0

    def add(self, count: int) -> None:
        self.total += count
        self.on_bytes(count)

    def undo(self) -> None:
        self.on_bytes(-self.total)
