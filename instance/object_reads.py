"""Two ways to read an object: through botocore, and directly over a kept connection. Runs on the instance."""

import http.client
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path

from instance.checksums import CHUNK_BYTES

AWS = ".amazonaws.com"
CHECKSUM_MODE = "x-amz-checksum-mode"
CHECKSUMS = ("sha256", "sha1", "crc32")
CONNECT_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 30.0
OK, PARTIAL = 200, 206
# What a direct read can end with; the object is then asked for through botocore, which knows what to do about it.
DIRECT_ERRORS = (OSError, http.client.HTTPException, BotoCoreError)


@dataclass(frozen=True)
class Wanted:
    """What to read: an object as it was when the run was accepted, whole or `length` bytes from `first` on.

    Parameters
    ----------
    key, etag : str
        Of the object; the ETag without quotes.
    size : int
        Bytes of the whole object.
    first, length : int
        The part, in bytes.
    """

    key: str
    etag: str
    size: int
    first: int
    length: int

    @property
    def whole(self) -> bool:
        """Whether it is the object from its first to its last byte."""
        return self.length == self.size

    @property
    def range(self) -> str:
        """The value of the Range header."""
        return f"bytes={self.first}-{self.first + self.length - 1}"


@dataclass(frozen=True)
class Answer:
    """What came: size and ETag of the whole object, its checksums by algorithm (base64), its bytes in chunks.

    A chunk is valid until the next one is asked for.
    """

    size: int
    etag: str
    checksums: Mapping[str, str]
    chunks: Iterator[bytes | memoryview]


def stored_checksums(response: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums of the whole object in a boto3 response, by algorithm (base64).

    The checksum of a multipart upload may be a hash of hashes, with a dash and the number of parts at its end:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html. Those are left out.
    """
    return _of_whole_objects({name: response.get(f"Checksum{name.upper()}") for name in CHECKSUMS})


def read_through_botocore(client: Any, bucket: str, wanted: Wanted) -> Answer:
    """Ask with `client.get_object`; raises its ClientError and BotoCoreError."""
    asked = {"ChecksumMode": "ENABLED"} if wanted.whole else {"Range": wanted.range}
    response = client.get_object(Bucket=bucket, Key=wanted.key, **asked)
    size = response["ContentLength"]
    if not wanted.whole:
        size = int(response["ContentRange"].rpartition("/")[2])
    chunks = response["Body"].iter_chunks(CHUNK_BYTES)
    return Answer(size, response["ETag"].strip('"'), stored_checksums(response), chunks)


class DirectReader:
    """Reads objects of a bucket by signed GETs over one connection that is kept open. For one thread.

    A `get_object` of botocore takes about 0.9 ms of CPU time, which for thousands of small objects is what a
    download takes; a GET over `http.client`, with the signature in its headers, takes about 0.3 ms. It does none of
    botocore's retries and knows none of its errors. No presigned address is made: one would work for whoever reads it.

    Parameters
    ----------
    client
        S3; signs the requests, so that endpoint, region and credentials are its own.
    bucket : str
        Where from.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self.client = client
        self.address = _bucket_address(client.meta.endpoint_url, bucket)
        self.buffer = memoryview(bytearray(CHUNK_BYTES))
        self.connection: http.client.HTTPConnection | None = None

    @contextmanager
    def read(self, wanted: Wanted) -> Iterator[Answer]:
        """Ask for the object, which must still have its ETag; raises one of DIRECT_ERRORS when that fails."""
        response = self._response(wanted)
        try:
            if response.status != (OK if wanted.whole else PARTIAL):
                raise OSError(f"S3 answered {response.status} {response.reason}")
            size = response.length if wanted.whole else response.headers["Content-Range"].rpartition("/")[2]
            etag = response.headers.get("ETag", "").strip('"')
            checksums = {name: response.headers.get(f"x-amz-checksum-{name}") for name in CHECKSUMS}
            yield Answer(int(size or 0), etag, _of_whole_objects(checksums), self._chunks(response))
        except BaseException:
            # Bytes of this answer may still come, so nothing else can be asked over this connection.
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        if self.connection:
            self.connection.close()
        self.connection = None

    def _response(self, wanted: Wanted) -> http.client.HTTPResponse:
        request = self._signed(wanted)
        kept = self.connection is not None
        try:
            return self._ask(request)
        except (http.client.HTTPException, ConnectionError):
            self.close()
            if not kept:
                raise
        # S3 closes connections that were idle, which shows only when the next question is put.
        return self._ask(request)

    def _ask(self, request: AWSRequest) -> http.client.HTTPResponse:
        address = urlsplit(str(request.url))
        if self.connection is None:
            self.connection = _connect(address.scheme, address.netloc)
        self.connection.request("GET", address.path, headers=dict(request.headers.items()))
        return self.connection.getresponse()

    def _signed(self, wanted: Wanted) -> AWSRequest:
        """Return the GET of the object with AWS Signature Version 4 in its headers.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
        """
        headers = {"If-Match": f'"{wanted.etag}"', "User-Agent": "chronos-training"}
        headers |= {CHECKSUM_MODE: "ENABLED"} if wanted.whole else {"Range": wanted.range}
        request = AWSRequest("GET", self.address + quote(wanted.key, safe="/~"), headers=headers)
        # The client's own signer renews the credentials of the instance's role in time.
        signer = self.client._request_signer.get_auth_instance("s3", self.client.meta.region_name, "s3v4")
        signer.add_auth(request)
        return request

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[memoryview]:
        while count := response.readinto(self.buffer):
            yield self.buffer[:count]


def _bucket_address(endpoint: str, bucket: str) -> str:
    """Return the address that a key is put after.

    AWS asks for the bucket in the host name, for which no certificate fits a bucket with a dot; another endpoint may be
    an IP address: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html.
    """
    scheme, netloc, *_ = urlsplit(endpoint)
    if AWS in netloc and "." not in bucket:
        return f"{scheme}://{bucket}.{netloc}/"
    return f"{scheme}://{netloc}/{bucket}/"


def _connect(scheme: str, netloc: str) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context(cafile=get_cert_path(True))
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            netloc, timeout=CONNECT_TIMEOUT_SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection(netloc, timeout=CONNECT_TIMEOUT_SECONDS)
    connection.connect()
    connection.sock.settimeout(READ_TIMEOUT_SECONDS)
    return connection


def _of_whole_objects(found: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in found.items() if value and "-" not in value}
