"""Finished units of work, on disk and on S3, so that a later attempt skips them. Runs in the worker."""

import base64
import hashlib
import json
import logging
import struct
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError

from instance.models.interface import Forecast
from instance.storage import Storage

logger = logging.getLogger(__name__)

FOLDER = "checkpoints/"
UPLOADS_AT_ONCE = 2
FORMAT = "forecasts-of-a-chunk-1"


@dataclass(frozen=True)
class Unit:
    """One unit of work: every window of a chunk of series, by one model."""

    model: str
    chunk: int

    @property
    def path(self) -> str:
        """Key below a machine's folder on S3, and path below the scratch folder."""
        return f"{FOLDER}{self.model}/chunk-{self.chunk:05d}.safetensors"


@dataclass(frozen=True)
class Finished:
    """The forecasts of a unit, one a window and last the one beyond the data, and the seconds that they took."""

    forecasts: list[Forecast]
    seconds: float


class Checkpoints:
    """Writes the checkpoints of one model in one run, and reads those of the run's earlier attempts.

    A checkpoint is one safetensors file, written whole or not at all: on disk under another name first, on S3 as one
    object whose SHA-256 S3 checks. Its user metadata hold that hash and a key, the hash of everything the forecasts
    depend on. An object with another key or other bytes does not count, and the attempt before is asked. What is taken
    up is not written again: an attempt knows the folders of all before it.

    Parameters
    ----------
    client
        S3.
    storage : Storage
        Where they are written and looked for.
    scratch : Path
        Folder for the local copies.
    depends_on : dict
        Request, data hash, weights and environment: JSON values.
    """

    def __init__(self, client: Any, storage: Storage, scratch: Path, depends_on: dict[str, Any]) -> None:
        self.client = client
        self.storage = storage
        self.scratch = scratch
        self.key = hashlib.sha256(json.dumps([FORMAT, depends_on], sort_keys=True).encode()).hexdigest()
        self.uploads = ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="checkpoint")
        self.pending: set[Future[None]] = set()

    def save(self, unit: Unit, finished: Finished) -> None:
        """Write a finished unit to disk, and upload it in the background; a failed upload is logged, no more."""
        body = _encode(finished)
        self._write(unit, body)
        job = self.uploads.submit(self._upload, unit)
        self.pending.add(job)
        job.add_done_callback(self.pending.discard)

    def load(self, unit: Unit) -> Finished | None:
        """Return the unit if an earlier attempt left it intact on S3, else None; the newest attempt is asked first."""
        for folder in self.storage.earlier_folders:
            finished = self._take_up(unit, folder)
            if finished is not None:
                return finished
        return None

    def again(self, unit: Unit) -> Finished:
        """Return a unit that this attempt has saved or loaded, from disk."""
        return _decode((self.scratch / unit.path).read_bytes())

    def close(self, seconds: float) -> None:
        """Give uploads that are under way `seconds` to end, and drop those that have not begun."""
        wait(self.pending, timeout=seconds)
        self.uploads.shutdown(wait=False, cancel_futures=True)

    def _take_up(self, unit: Unit, folder: str) -> Finished | None:
        try:
            answer = self.client.get_object(Bucket=self.storage.bucket, Key=folder + unit.path)
            body = answer["Body"].read()
            told = answer["Metadata"]
            if (told["key"], told["sha256"]) != (self.key, hashlib.sha256(body).hexdigest()):
                return None
            finished = _decode(body)
        except (ClientError, BotoCoreError, ValueError, KeyError, TypeError):
            # Whatever is wrong with a checkpoint, an older one or computing the unit again is right.
            return None
        self._write(unit, body)
        return finished

    def _write(self, unit: Unit, body: bytes) -> None:
        path = self.scratch / unit.path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(body)
        partial.rename(path)

    def _upload(self, unit: Unit) -> None:
        try:
            body = (self.scratch / unit.path).read_bytes()
            digest = hashlib.sha256(body)
            self.client.put_object(
                Bucket=self.storage.bucket,
                Key=self.storage.folder + unit.path,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                Metadata={"key": self.key, "sha256": digest.hexdigest()},
            )
        except (ClientError, BotoCoreError, OSError):
            # Only a later attempt misses it; this one holds the forecast.
            logger.warning("checkpoint %s could not be uploaded", unit.path, exc_info=True)


def _encode(finished: Finished) -> bytes:
    from safetensors.numpy import save  # noqa: PLC0415 - the supervisor reads no checkpoints

    told = [
        {"failures": {str(series): why for series, why in one.failures.items()}, "parameters": one.parameters}
        for one in finished.forecasts
    ]
    # (n_windows + 1, n_series, horizon), and the same with a last axis of levels. In C order, which stacking does not
    # promise: safetensors writes the memory as it lies.
    arrays = {
        "point": np.ascontiguousarray([one.point for one in finished.forecasts]),
        "quantiles": np.ascontiguousarray([one.quantiles for one in finished.forecasts]),
    }
    return save(arrays, {"seconds": repr(finished.seconds), "told": json.dumps(told)})


def _decode(body: bytes) -> Finished:
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.numpy import load  # noqa: PLC0415

    try:
        arrays = load(body)
        (length,) = struct.unpack_from("<Q", body)
        header = json.loads(body[8 : 8 + length])["__metadata__"]
    except (SafetensorError, struct.error) as error:
        raise ValueError(f"expected a checkpoint, found {error}") from error
    forecasts = [
        Forecast(
            point=point,
            quantiles=quantiles,
            failures={int(series): why for series, why in told["failures"].items()},
            parameters=told["parameters"],
        )
        for point, quantiles, told in zip(arrays["point"], arrays["quantiles"], json.loads(header["told"]), strict=True)
    ]
    return Finished(forecasts, float(header["seconds"]))
