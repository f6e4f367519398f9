"""A bucket that is a folder: what training asks of S3, without a server. For benchmarks and tests."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import ClientError
from botocore.response import StreamingBody


class Shelf:
    """Objects in a folder, with the calls of a boto3 client that the training phase makes.

    Parameters
    ----------
    folder : Path
        Holds the objects; stays when the process is killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put_object(self, *, Bucket: str, Key: str, Body: bytes | BinaryIO, **rest: Any) -> dict[str, Any]:  # noqa: N803
        """Keep an object, whole or not at all."""
        content = Body if isinstance(Body, bytes) else Body.read()
        path = self._path(Bucket, Key)
        path.parent.mkdir(parents=True, exist_ok=True)
        told = json.dumps(rest.get("Metadata", {})).encode()
        partial = path.with_suffix(".partial")
        partial.write_bytes(len(told).to_bytes(4, "big") + told + content)
        partial.rename(path)
        return {"ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'}

    def get_object(self, *, Bucket: str, Key: str, **rest: Any) -> dict[str, Any]:  # noqa: N803
        """Return an object; raises ClientError as S3 does when there is none."""
        del rest
        try:
            content = self._path(Bucket, Key).read_bytes()
        except FileNotFoundError as error:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": Key}}, "GetObject") from error
        size = int.from_bytes(content[:4], "big")
        body = content[4 + size :]
        return {
            "Body": StreamingBody(io.BytesIO(body), len(body)),
            "Metadata": json.loads(content[4 : 4 + size]),
            "ContentLength": len(body),
        }

    def _path(self, bucket: str, key: str) -> Path:
        return self.folder / bucket / key
