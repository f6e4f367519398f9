"""Copies files to S3 in parallel, very large ones in parts, and reads their checksums back. Runs in the worker."""

import base64
import contextlib
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from contracts.reasons import ResultsSyncFailed
from instance.checksums import CHUNK_BYTES, file_sha256
from instance.thread_team import Stopped, ThreadTeam

# A single PUT ends at 5 GB, and starts over from the first byte when it fails.
MULTIPART_FROM_BYTES = 1 << 30
# Each thread holds one part in memory.
PART_BYTES = 16 << 20
MAX_PARTS = 10_000
# The checksum S3 keeps of an upload in parts is a hash of hashes, so the file's own goes beside it.
SHA256_METADATA = "sha256"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Artifact:
    """An uploaded file as training.json lists it: path below the machine's folder, size, SHA-256 (hex)."""

    path: str
    bytes: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of training.json."""
        return asdict(self)


@dataclass(frozen=True)
class _Part:
    number: int
    first: int
    length: int


class Uploads:
    """The uploads of one call.

    Parameters
    ----------
    client, bucket, prefix
        Where to; `prefix` ends with a slash.
    on_file : callable
        Called with 1 after each file, from several threads.
    pauses_seconds : sequence of float
        The pause after each try that failed; as many tries as pauses.
    threads : int
        How many files, or parts of one file, at once.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str,
        on_file: Callable[[int], None],
        pauses_seconds: Sequence[float],
        threads: int,
    ) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = prefix
        self.on_file = on_file
        self.pauses_seconds = pauses_seconds
        self.threads = threads
        self.stop = threading.Event()

    def run(self, files: Sequence[tuple[str, Path]]) -> list[Artifact]:
        """Upload files, given as (path below the prefix, file): small ones side by side, then large ones in parts."""
        large = [file for file in files if file[1].stat().st_size >= MULTIPART_FROM_BYTES]
        small = [file for file in files if file not in large]
        team: ThreadTeam[tuple[str, Path], Artifact] = ThreadTeam(self.threads, self._upload, self.stop)
        artifacts = team.run(small) + [self._upload_in_parts(file) for file in large]
        by_path = {artifact.path: artifact for artifact in artifacts}
        return [by_path[name] for name, _ in files]

    def _upload(self, file: tuple[str, Path]) -> Artifact:
        name, path = file
        artifact = Artifact(name, path.stat().st_size, file_sha256(path))
        checksum = _base64(bytes.fromhex(artifact.sha256))

        def put() -> None:
            with path.open("rb") as body:
                self.client.put_object(
                    **self._object(name), Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum
                )
            self._check_stored(artifact, checksum)

        self._tried(name, put)
        self.on_file(1)
        return artifact

    def _upload_in_parts(self, file: tuple[str, Path]) -> Artifact:
        """Upload one file, several parts at a time.

        The steps are those of https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html.
        """
        name, path = file
        artifact = Artifact(name, path.stat().st_size, file_sha256(path))
        begun = self._tried(name, lambda: self._begin(artifact))
        try:
            team: ThreadTeam[_Part, dict[str, Any]] = ThreadTeam(
                self.threads, lambda part: self._put_part(file, begun, part), self.stop
            )
            parts = team.run(_parts(artifact.bytes))
            self._tried(name, lambda: self._complete(artifact, begun, parts))
        except BaseException:
            # The bucket's own rule removes the parts too, but a day later.
            with contextlib.suppress(ClientError, BotoCoreError):
                self.client.abort_multipart_upload(**self._object(name), UploadId=begun)
            raise
        self.on_file(1)
        return artifact

    def _begin(self, artifact: Artifact) -> str:
        answer = self.client.create_multipart_upload(
            **self._object(artifact.path), ChecksumAlgorithm="SHA256", Metadata={SHA256_METADATA: artifact.sha256}
        )
        return str(answer["UploadId"])

    def _put_part(self, file: tuple[str, Path], upload_id: str, part: _Part) -> dict[str, Any]:
        name, path = file

        def put() -> dict[str, Any]:
            body = _read(path, part)
            checksum = _base64(hashlib.sha256(body).digest())
            answer = self.client.upload_part(
                **self._object(name),
                UploadId=upload_id,
                PartNumber=part.number,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
            )
            return {"PartNumber": part.number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

        return self._tried(name, put)

    def _complete(self, artifact: Artifact, upload_id: str, parts: list[dict[str, Any]]) -> None:
        try:
            self.client.complete_multipart_upload(
                **self._object(artifact.path), UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
        except ClientError as error:
            # After a lost answer the upload is complete and gone; whether it is the right one is checked next.
            if error.response["Error"]["Code"] != "NoSuchUpload":
                raise
        digests = b"".join(base64.b64decode(part["ChecksumSHA256"]) for part in parts)
        self._check_stored(artifact, f"{_base64(hashlib.sha256(digests).digest())}-{len(parts)}")

    def _check_stored(self, artifact: Artifact, checksum: str) -> None:
        """Compare what S3 holds with the file: its size, and its checksum as S3 writes it."""
        head = self.client.head_object(**self._object(artifact.path), ChecksumMode="ENABLED")
        found = head.get("ChecksumSHA256")
        if found is None:
            found, checksum = self._sha256_of_object(artifact.path), artifact.sha256
        if (head["ContentLength"], found) != (artifact.bytes, checksum):
            raise OSError(
                f"S3 holds {head['ContentLength']} bytes with SHA-256 {found}, "
                f"not the {artifact.bytes} with {checksum} that were uploaded"
            )

    def _sha256_of_object(self, name: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.client.get_object(**self._object(name))["Body"].iter_chunks(CHUNK_BYTES):
            digest.update(chunk)
        return digest.hexdigest()

    def _tried(self, name: str, act: Callable[[], Result]) -> Result:
        for pause in self.pauses_seconds:
            try:
                return act()
            except (ClientError, BotoCoreError, OSError) as error:
                last: Exception = error
            if self.stop.wait(pause):
                raise Stopped
        tries = len(self.pauses_seconds)
        raise ResultsSyncFailed(f"{name}: expected an intact upload in {tries} tries, found: {last}") from last

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + name}


def _parts(size: int) -> list[_Part]:
    length = max(PART_BYTES, -(-size // MAX_PARTS))
    return [_Part(i + 1, first, min(length, size - first)) for i, first in enumerate(range(0, size, length))]


def _read(path: Path, part: _Part) -> bytes:
    with path.open("rb") as file:
        file.seek(part.first)
        return file.read(part.length)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
