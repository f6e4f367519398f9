"""SHA-256 of files, and the checksums S3 keeps of objects. Runs on the instance, in the supervisor and the worker."""

import base64
import hashlib
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

# Small enough to be still in the processor's cache when it is hashed and written.
CHUNK_BYTES = 256 << 10


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hex."""
    return file_checksums(path, []).sha256


class _Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc32:
    """CRC-32 with the interface of hashlib."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in more bytes."""
        self.value = zlib.crc32(data, self.value)

    def digest(self) -> bytes:
        """Return the checksum as S3 writes it: four bytes, the highest first."""
        return self.value.to_bytes(4, "big")


class Checksums:
    """SHA-256 of bytes that come in pieces, and further checksums of the same bytes.

    Parameters
    ----------
    others : collection of str
        Algorithms beside sha256: sha1, crc32.
    """

    def __init__(self, others: Collection[str]) -> None:
        self._digests: dict[str, _Digest] = {"sha256": hashlib.sha256()}
        if "sha1" in others:
            self._digests["sha1"] = hashlib.sha1(usedforsecurity=False)
        if "crc32" in others:
            self._digests["crc32"] = Crc32()

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next piece."""
        for digest in self._digests.values():
            digest.update(data)

    @property
    def sha256(self) -> str:
        """The SHA-256 so far, hex."""
        return self._digests["sha256"].digest().hex()

    def differing(self, stored: Mapping[str, str]) -> list[str]:
        """Return the algorithms whose checksum (base64) in `stored` is not that of the bytes."""
        return [
            name for name, value in stored.items() if base64.b64encode(self._digests[name].digest()).decode() != value
        ]


def file_checksums(path: Path, others: Collection[str]) -> Checksums:
    """Return the checksums of a file's bytes."""
    checksums = Checksums(others)
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            checksums.update(buffer[:count])
    return checksums
