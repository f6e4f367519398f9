"""Copies objects to disk in parallel, large ones in parts, each proven by size and checksum. Runs in the worker."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError

from contracts.reasons import DataSyncFailed
from instance.checksums import Checksums, file_checksums
from instance.object_reads import DIRECT_ERRORS, Answer, DirectReader, Wanted, read_through_botocore, stored_checksums
from instance.thread_team import Stopped, ThreadTeam

# 8 to 16 MB, as AWS advises: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html
# A thread holds one chunk of its part in memory, not the part.
PART_BYTES = 8 << 20
# For fewer parts a second connection a thread is not worth it.
DIRECT_FROM_PARTS = 16
# Where direct reads do not work at all, such as behind a proxy, it takes this many to know.
DIRECT_FAILURES = 8
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


@dataclass
class _Target:
    """An object on its way to its file, and how many of its parts are still to come."""

    whole: Wanted
    path: Path
    left: int = 0
    retries: int = 0
    sha256: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def parts(self) -> list[Wanted]:
        """Split a large object into parts."""
        whole = self.whole
        starts = range(0, max(whole.size, 1), PART_BYTES)
        parts = [
            Wanted(whole.key, whole.etag, whole.size, first, min(PART_BYTES, whole.size - first)) for first in starts
        ]
        self.left = len(parts)
        return parts

    def asked_again(self) -> None:
        with self.lock:
            self.retries += 1

    def part_came(self) -> bool:
        """Count a part, and return whether it was the last one."""
        with self.lock:
            self.left -= 1
            return self.left == 0


class Downloads:
    """The downloads of one call.

    Parameters
    ----------
    client, bucket
        Where from.
    on_bytes : callable
        Called with the number of bytes that arrived since its last call, from several threads; negative when a part
        starts over.
    pauses_seconds : sequence of float
        The pause after each try that failed; as many tries as pauses.
    threads : int
        How many parts at once.
    """

    def __init__(
        self, client: Any, bucket: str, on_bytes: OnBytes, pauses_seconds: Sequence[float], threads: int
    ) -> None:
        self.client = client
        self.bucket = bucket
        self.on_bytes = on_bytes
        self.pauses_seconds = pauses_seconds
        self.threads = threads
        self.stop = threading.Event()
        self.direct_failures = 0
        self._readers: list[DirectReader] = []
        self._of_thread = threading.local()

    def run(self, objects: Sequence[tuple[dict[str, Any], Path]]) -> list[Download]:
        """Download objects, given as references of the manifest (key, bytes, etag) with their files."""
        targets = [_Target(_wanted(reference), path) for reference, path in objects]
        for folder in {target.path.parent for target in targets}:
            folder.mkdir(parents=True, exist_ok=True)
        parts = [(target, part) for target in targets for part in target.parts()]
        for target in targets:
            if target.left > 1:
                _take_space(target)
        if len(parts) < DIRECT_FROM_PARTS:
            self.direct_failures = DIRECT_FAILURES
        team: ThreadTeam[tuple[_Target, Wanted], None] = ThreadTeam(self.threads, self._bring, self.stop)
        try:
            team.run(parts)
        finally:
            for reader in self._readers:
                reader.close()
        return [Download(one.whole.key, one.path, one.whole.size, one.sha256, one.retries) for one in targets]

    def _bring(self, job: tuple[_Target, Wanted]) -> None:
        target, part = job
        if not self._directly(target, part):
            self._through_botocore(target, part)
        if target.part_came() and not part.whole:
            self._check_joined(target)

    def _directly(self, target: _Target, part: Wanted) -> bool:
        """Try once without botocore; return whether the part is there."""
        if self.direct_failures >= DIRECT_FAILURES:
            return False
        received = _Counter(self.on_bytes)
        try:
            with self._reader().read(part) as answer:
                self._store(target, part, answer, received)
        except (*DIRECT_ERRORS, DataSyncFailed) as error:
            if self.stop.is_set():
                raise Stopped from error
            # Whatever it was: botocore is asked next, and its answer is the one that counts.
            received.undo()
            target.asked_again()
            self.direct_failures += 1
            return False
        self.direct_failures = 0
        return True

    def _through_botocore(self, target: _Target, part: Wanted) -> None:
        for pause in self.pauses_seconds:
            received = _Counter(self.on_bytes)
            try:
                self._store(target, part, read_through_botocore(self.client, self.bucket, part), received)
                return
            except ClientError as error:
                _raise_if_final(error, part.key)
                last: Exception = error
            except (BotoCoreError, FlexibleChecksumError, OSError) as error:
                last = error
            received.undo()
            target.asked_again()
            if self.stop.wait(pause):
                raise Stopped
        tries = len(self.pauses_seconds)
        raise DataSyncFailed(f"{part.key}: expected an intact copy in {tries} tries, found: {last}") from last

    def _store(self, target: _Target, part: Wanted, answer: Answer, received: "_Counter") -> None:
        _check_unchanged(part, answer)
        checksums = Checksums(answer.checksums) if part.whole else None
        with _opened(target.path, part) as file:
            for chunk in answer.chunks:
                if self.stop.is_set():
                    raise Stopped
                if checksums:
                    checksums.update(chunk)
                file.write(chunk)
                received.add(len(chunk))
        if received.total != part.length:
            raise OSError(f"{received.total} of {part.length} bytes arrived")
        if checksums:
            _check_checksums(checksums, answer.checksums)
            target.sha256 = checksums.sha256

    def _check_joined(self, target: _Target) -> None:
        """Read what came in parts once more, for its checksums; if they differ, bring the object in one piece."""
        whole = target.whole
        try:
            head = self.client.head_object(Bucket=self.bucket, Key=whole.key, ChecksumMode="ENABLED")
            stored = stored_checksums(head)
            _check_unchanged(whole, Answer(head["ContentLength"], head["ETag"].strip('"'), stored, iter(())))
            checksums = file_checksums(target.path, stored)
            _check_checksums(checksums, stored)
            target.sha256 = checksums.sha256
        except (ClientError, BotoCoreError, OSError):
            self.on_bytes(-whole.size)
            target.asked_again()
            self._through_botocore(target, whole)

    def _reader(self) -> DirectReader:
        reader: DirectReader | None = getattr(self._of_thread, "reader", None)
        if reader is None:
            reader = self._of_thread.reader = DirectReader(self.client, self.bucket)
            self._readers.append(reader)
        return reader


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


def _wanted(reference: dict[str, Any]) -> Wanted:
    return Wanted(reference["key"], reference["etag"].strip('"'), reference["bytes"], 0, reference["bytes"])


def _take_space(target: _Target) -> None:
    """Give the file its full size, so that threads can write parts anywhere and a full disk shows at once."""
    try:
        with target.path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, target.whole.size)
    except OSError as error:
        told = f"{target.whole.key}: expected room for {target.whole.size} bytes, found: {error}"
        raise DataSyncFailed(f"{told}. Use a larger volume.") from error


def _opened(path: Path, part: Wanted) -> BinaryIO:
    if part.whole:
        return path.open("wb")
    file = path.open("r+b")
    file.seek(part.first)
    return file


def _check_unchanged(wanted: Wanted, answer: Answer) -> None:
    if (answer.size, answer.etag) != (wanted.size, wanted.etag):
        raise DataSyncFailed(
            f"{wanted.key}: expected {wanted.size} bytes with ETag {wanted.etag} as when the run was accepted, "
            f"found {answer.size} bytes with {answer.etag}. Somebody changed the object; start again."
        )


def _check_checksums(checksums: Checksums, stored: Mapping[str, str]) -> None:
    if differing := checksums.differing(stored):
        raise OSError(f"the {', '.join(differing)} of the bytes is not the one S3 holds")


def _raise_if_final(error: ClientError, key: str) -> None:
    if error.response["Error"]["Code"] in MISSING:
        raise DataSyncFailed(f"{key}: expected the object of the manifest, found none.") from error
