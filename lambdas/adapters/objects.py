"""The bucket: read what instances wrote, bounded and checked; write what the controller says. Runs in Lambda."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from contracts import layout
from contracts.documents import MAX_STATE_BYTES, Document, DocumentInvalid, parse
from lambdas.adapters.clients import PATIENT, Pace, client, error_code
from lambdas.adapters.telemetry import logger
from lambdas.core.acceptance import Stored

_OVERTAKEN = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
# Of what machines write. The largest that one writes for good reason lists a few dozen artifacts or series.
MOST_DOCUMENT_BYTES = 1024 * 1024
_ABSENT = ("NoSuchKey", "404", "NotFound", "InvalidRange", "416")


# One call up to what CopyObject takes, 5 GB; the callers bring threads of their own.
_ONE_CALL_BYTES = 5 * 10**9
_COPYING = TransferConfig(multipart_threshold=_ONE_CALL_BYTES, multipart_chunksize=10**9, use_threads=False)


@dataclass(frozen=True)
class Stamp:
    """What tells an object from another: bytes, SHA-256 (hex, "" if S3 has none), ETag."""

    size: int
    sha256: str
    etag: str


class Replaced(Exception):
    """An object is not the one any more that was asked for: something else was written to its key."""


class Objects:
    """The objects of one bucket."""

    def __init__(self, bucket: str, pace: Pace = PATIENT) -> None:
        self.bucket = bucket
        self._pace = pace

    def _s3(self) -> Any:
        # With its defaults written out it would be a second client.
        return client("s3") if self._pace == PATIENT else client("s3", *self._pace)

    def listed(self, prefix: str) -> list[Stored]:
        """Return all objects below a prefix."""
        pages = self._s3().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [
            Stored(item["Key"], item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp())
            for page in pages
            for item in page.get("Contents", [])
        ]

    def head(self, key: str, limit: int) -> bytes | None:
        """Return at most the first `limit` bytes of an object, b"" when it is empty, None when it is absent."""
        try:
            return self._read(key, Range=f"bytes=0-{limit - 1}")[0]
        except ClientError as error:
            if error_code(error) in ("InvalidRange", "416"):
                return b""
            if error_code(error) in _ABSENT:
                return None
            raise

    def content(self, key: str, limit: int, etag: str = "") -> tuple[bytes, str] | None:
        """Return at most the first `limit` bytes of an object and its ETag, None when it is absent.

        Raises Replaced when `etag` is given and the object no longer is that one.
        """
        # S3's own answers bring the quotes that belong to an ETag, its events do not.
        condition = {"IfMatch": f'"{etag.strip(chr(34))}"'} if etag else {}
        try:
            return self._read(key, Range=f"bytes=0-{limit - 1}", **condition)
        except ClientError as error:
            if error_code(error) in ("InvalidRange", "416"):
                return b"", etag
            if error_code(error) in _ABSENT:
                return None
            if error_code(error) in _OVERTAKEN:
                raise Replaced(key) from error
            raise

    def _read(self, key: str, **asked: str) -> tuple[bytes, str]:
        """Return the whole content that was asked for, and the ETag of its object.

        botocore tries a call again, not an answer that breaks off; that an answer is shorter than its header says it
        notices only when the body is read to its end. Half a document would look like a broken one.
        """
        for tries_left in reversed(range(self._pace.tries)):
            answer = self._s3().get_object(Bucket=self.bucket, Key=key, **asked)
            try:
                return answer["Body"].read(), answer["ETag"]
            except (BotoCoreError, HTTPError) as error:
                if not tries_left:
                    raise
                logger.warning("an answer broke off, asking again", extra={"key": key, "problem": str(error)[:300]})
        raise AssertionError("the last try returns or raises")

    def state(self, prefix: str) -> Document | None:
        """Return the newest system-state.json of a run; None when absent, oversized or not following its contract."""
        return self._document("system_state", prefix + layout.SYSTEM_STATE, MAX_STATE_BYTES)

    def document(self, name: str, key: str, limit: int = MOST_DOCUMENT_BYTES) -> Document | None:
        """Return a contract document; None when absent or not following its contract, which is logged."""
        return self._document(name, key, limit)

    def _document(self, name: str, key: str, limit: int) -> Document | None:
        content = self.head(key, limit + 1)
        if content is None:
            return None
        if len(content) > limit:
            logger.warning("ignored an oversized document", extra={"key": key, "limit_bytes": limit})
            return None
        return self.parsed(name, key, content)

    @staticmethod
    def parsed(name: str, key: str, content: bytes) -> Document | None:
        """Return what was read from `key` as a contract document; None when it does not follow it, which is logged."""
        try:
            return parse(name, content)
        except DocumentInvalid as error:
            logger.warning("ignored a document that breaks its contract", extra={"key": key, "problem": str(error)})
            return None

    def versioned(self, name: str, key: str) -> tuple[Document | None, str]:
        """Return a contract document and the ETag of its object, (None, "") when absent; see `replace`."""
        content, etag = self.current(key)
        return None if content is None else self.parsed(name, key, content), etag

    def current(self, key: str) -> tuple[bytes | None, str]:
        """Return the whole content and the ETag of an object, (None, "") when absent; see `replace`."""
        try:
            return self._read(key)
        except ClientError as error:
            if error_code(error) in _ABSENT:
                return None, ""
            raise

    def replace(
        self, key: str, content: bytes, etag: str, content_type: str = "application/json", tags: str = ""
    ) -> bool:
        """Write an object that has been `etag` until now, "" for one that was absent; False when it no longer is so.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
        """
        return self.put(key, content, content_type, etag, tags)

    def put(
        self,
        key: str,
        content: bytes,
        content_type: str = "application/json",
        etag: str | None = None,
        tags: str = "",
    ) -> bool:
        """Write an object, whatever is there unless `etag` is given: see `replace`. S3 verifies its checksum.

        `tags` are the object's, written as in an address: `name=value`.
        """
        condition: dict[str, Any] = {} if etag is None else {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        tagged = {"Tagging": tags} if tags else {}
        try:
            self._s3().put_object(
                Bucket=self.bucket,
                Key=key,
                Body=content,
                ContentType=content_type,
                ChecksumAlgorithm="SHA256",
                **condition,
                **tagged,
            )
        except ClientError as error:
            if condition and error_code(error) in (*_OVERTAKEN, *_ABSENT):
                return False
            raise
        return True

    def look(self, key: str) -> Stamp | None:
        """Return an object's size, SHA-256 and version; None when absent.

        S3 verified the SHA-256 on upload. Of an object that came in parts it verified that of each part, and keeps a
        hash of those, with a dash and the number of parts; the instance left the whole one in the user metadata
        (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html).
        """
        try:
            answer = self._s3().head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error_code(error) in _ABSENT:
                return None
            raise
        stored = answer.get("ChecksumSHA256", "")
        whole = answer["Metadata"].get("sha256", "") if "-" in stored else base64.b64decode(stored).hex()
        return Stamp(answer["ContentLength"], whole, answer["ETag"])

    def copy(self, source: str, key: str, stamp: Stamp, tags: str = "") -> bool:
        """Copy an object within the bucket; False when it is not `stamp` any more, or is gone. May be repeated.

        An ETag of "" is any. The copy has `tags` and no others. Any size: what is too large for one call goes in parts,
        which S3 reads under the same condition. Of such a copy it keeps no hash of the whole, so that is left with it;
        see `look`.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/copy-object.html
        """
        asked: dict[str, Any] = {"ChecksumAlgorithm": "SHA256", "TaggingDirective": "REPLACE"}
        asked |= {"CopySourceIfMatch": stamp.etag} if stamp.etag else {}
        if stamp.size >= _ONE_CALL_BYTES:
            asked |= {"MetadataDirective": "REPLACE", "Metadata": {"sha256": stamp.sha256}}
        asked |= {"Tagging": tags} if tags else {}
        try:
            self._s3().copy({"Bucket": self.bucket, "Key": source}, self.bucket, key, ExtraArgs=asked, Config=_COPYING)
        except ClientError as error:
            if error_code(error) in (*_OVERTAKEN, *_ABSENT):
                return False
            raise
        return True

    def heads(self, keys: list[tuple[str, int]], limit: int) -> Iterator[tuple[str, bytes, bool]]:
        """Yield (key, content, whole) of each (key, size), at most `limit` bytes of each."""
        for key, size in keys:
            yield key, self.head(key, limit) or b"", size <= limit
