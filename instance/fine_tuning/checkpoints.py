"""Checkpoints of a fine-tuning, proven by SHA-256, for a later attempt on another machine. Runs in the worker."""

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from contracts.models import FINE_TUNED
from instance.checkpoints import FOLDER
from instance.checksums import file_sha256
from instance.fine_tuning.settings import Progress
from instance.storage import Storage

logger = logging.getLogger(__name__)

FINE_TUNING = f"{FOLDER}{FINE_TUNED}/"
SLOTS = ("slot-0", "slot-1")
LAST_UPLOAD_SECONDS = 300.0


@dataclass(frozen=True)
class Saved:
    """A checkpoint: how far the training was, its tensors by name, and the state of the gradient scaler."""

    progress: Progress
    tensors: dict[str, Any]
    scaler: dict[str, Any]


class FineTuningCheckpoints:
    """Writes checkpoints of one fine-tuning, and finds those of the run's earlier attempts.

    A checkpoint is a safetensors file and a JSON sidecar written after it, with the file's SHA-256 and a key, the hash
    of everything the training depends on. One without the other, with another key or other bytes, does not count, and
    the one before it is taken. Nothing is pickled. Each machine has two slots that it overwrites in turn: it may not
    delete anything, and one whole checkpoint is always there while the other is written.

    Parameters
    ----------
    client
        S3.
    storage : Storage
        Where they are written and looked for.
    folder : Path
        Local place of the files.
    depends_on : dict
        Request, data hash, weights and environment: JSON values.
    """

    def __init__(self, client: Any, storage: Storage, folder: Path, depends_on: Mapping[str, Any]) -> None:
        self.client = client
        self.storage = storage
        self.folder = folder
        self.key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self.upload: Future[None] | None = None
        self.saved = 0

    def save(self, saved: Saved) -> None:
        """Write a checkpoint, and upload it while training goes on; S3 may fail, the local file must not."""
        from safetensors.torch import save_file  # noqa: PLC0415 - loads PyTorch

        self.folder.mkdir(parents=True, exist_ok=True)
        stem = SLOTS[self.saved % len(SLOTS)]
        self.saved += 1
        tensors = self.folder / f"{stem}.safetensors"
        unfinished = tensors.with_suffix(".tmp")
        save_file(saved.tensors, unfinished)
        sidecar = {
            "key": self.key,
            "sha256": file_sha256(unfinished),
            "progress": saved.progress.as_dict(),
            "scaler": saved.scaler,
        }
        unfinished.replace(tensors)
        # Two uploads at once would only slow each other down, and the older could arrive later.
        self.finish_upload()
        self.upload = self.thread.submit(self._upload, stem, tensors, json.dumps(sidecar).encode())

    def newest(self) -> Saved | None:
        """Return the checkpoint of an earlier attempt with the most steps, whole and of this very training, or None."""
        for stem in self._most_steps_first():
            found = self._read(stem)
            if found is not None:
                return found
            logger.warning("checkpoint %s is damaged; looking at the one before", stem)
        return None

    def finish_upload(self) -> None:
        """Wait for an upload that is still under way."""
        if self.upload is None:
            return
        try:
            self.upload.result(LAST_UPLOAD_SECONDS)
        except TimeoutError:
            logger.warning("a checkpoint was not uploaded within %.0f s", LAST_UPLOAD_SECONDS)
        self.upload = None

    def close(self) -> None:
        """Wait for the last upload, and give the thread back."""
        self.finish_upload()
        self.thread.shutdown(wait=False)

    def _upload(self, stem: str, tensors: Path, sidecar: bytes) -> None:
        try:
            at = f"{self.storage.folder}{FINE_TUNING}{stem}"
            checksum = base64.b64encode(bytes.fromhex(json.loads(sidecar)["sha256"])).decode()
            with tensors.open("rb") as body:
                self.client.put_object(
                    Bucket=self.storage.bucket,
                    Key=f"{at}.safetensors",
                    Body=body,
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum,
                )
            self.client.put_object(Bucket=self.storage.bucket, Key=f"{at}.json", Body=sidecar)
        except (ClientError, BotoCoreError, OSError):
            # Only a later attempt misses it; this one goes on.
            logger.warning("checkpoint %s could not be uploaded", stem, exc_info=True)
        finally:
            tensors.unlink(missing_ok=True)

    def _most_steps_first(self) -> list[str]:
        """Return the keys, without suffix, of the earlier attempts' slots that hold a sidecar of this training."""
        steps = {}
        for stem in [f"{folder}{FINE_TUNING}{slot}" for folder in self.storage.earlier_folders for slot in SLOTS]:
            try:
                sidecar = json.loads(self._get(f"{stem}.json").read())
                if sidecar["key"] == self.key:
                    steps[stem] = int(sidecar["progress"]["step"])
            except (ClientError, BotoCoreError, ValueError, KeyError, TypeError):
                logger.info("no checkpoint to be read in %s", stem)
        return sorted(steps, key=lambda stem: steps[stem], reverse=True)

    def _read(self, stem: str) -> Saved | None:
        from safetensors import SafetensorError  # noqa: PLC0415 - loads PyTorch
        from safetensors.torch import load_file  # noqa: PLC0415

        path = self.folder / "earlier.safetensors"
        try:
            sidecar = json.loads(self._get(f"{stem}.json").read())
            if sidecar["key"] != self.key:
                return None
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for chunk in self._get(f"{stem}.safetensors").iter_chunks(1 << 20):
                    file.write(chunk)
            if file_sha256(path) != sidecar["sha256"]:
                return None
            return Saved(Progress.from_dict(sidecar["progress"]), load_file(path), sidecar["scaler"])
        except (ClientError, BotoCoreError, SafetensorError, OSError, ValueError, KeyError, TypeError):
            logger.warning("checkpoint %s could not be read", stem, exc_info=True)
            return None
        finally:
            path.unlink(missing_ok=True)

    def _get(self, key: str) -> Any:
        return self.client.get_object(Bucket=self.storage.bucket, Key=key)["Body"]
