"""Finished units of work on S3, so that a later attempt skips them. Runs on the instance, in the worker."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from botocore.exceptions import BotoCoreError, ClientError

from instance.models.interface import Forecast
from instance.objects import put_verified

FOLDER = "checkpoints/"


@dataclass(frozen=True)
class Unit:
    """One unit of work: a model and a window; the window after the backtest is the forecast beyond the data."""

    model: str
    window: int

    @property
    def stem(self) -> str:
        """Key below the run's prefix, without suffix."""
        return f"{FOLDER}{self.model}/window-{self.window:03d}"


@dataclass(frozen=True)
class Finished:
    """A unit's forecast and the seconds it took when it was computed."""

    forecast: Forecast
    seconds: float


def quantile_columns(levels: Sequence[float]) -> list[str]:
    """Return the column names of quantiles: q0.1, q0.5 ..., every digit of the level, so that no two are the same."""
    return [f"q{level}" for level in levels]


class Checkpoints:
    """Reads and writes checkpoints of one run.

    A checkpoint is a Parquet file and a JSON sidecar written after it with the file's SHA-256 and a key, the hash of
    everything the forecast depends on. One without the other, with another key or other bytes, does not count.

    Parameters
    ----------
    client, bucket, prefix
        The run's place on S3.
    depends_on : dict
        Request, data hash, weights and environment: JSON values.
    levels : sequence of float
        Quantile levels.
    """

    def __init__(
        self, client: Any, bucket: str, prefix: str, depends_on: dict[str, Any], levels: Sequence[float]
    ) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = prefix
        self.key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
        self.levels = list(levels)

    def save(self, unit: Unit, finished: Finished) -> None:
        """Upload a finished unit: the Parquet file first, then the sidecar that makes it count.

        Raises
        ------
        ClientError, BotoCoreError
            S3 did not take it.
        """
        body = _encode(finished.forecast, self.levels)
        stem = self.prefix + unit.stem
        sidecar = {
            "key": self.key,
            "sha256": put_verified(self.client, self.bucket, f"{stem}.parquet", body),
            "series": len(finished.forecast.point),
            "failed": finished.forecast.failed,
            "seconds": finished.seconds,
            "parameters": finished.forecast.parameters,
        }
        put_verified(self.client, self.bucket, f"{stem}.json", json.dumps(sidecar).encode())

    def load(self, unit: Unit) -> Finished | None:
        """Return the unit if an earlier attempt left it intact, else None."""
        stem = self.prefix + unit.stem
        try:
            sidecar = json.loads(self._read(f"{stem}.json"))
            body = self._read(f"{stem}.parquet")
            if (sidecar["key"], sidecar["sha256"]) != (self.key, hashlib.sha256(body).hexdigest()):
                return None
            return Finished(_decode(body, sidecar, self.levels), float(sidecar["seconds"]))
        except (ClientError, BotoCoreError, ValueError, KeyError, TypeError):
            # Whatever is wrong with a checkpoint, computing the unit again is right.
            return None

    def _read(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body


def _encode(forecast: Forecast, levels: Sequence[float]) -> bytes:
    n_series, horizon = forecast.point.shape
    columns: dict[str, Any] = {
        "series": np.repeat(np.arange(n_series), horizon),
        "step": np.tile(np.arange(1, horizon + 1), n_series),
        "point": forecast.point.ravel(),
    }
    for index, name in enumerate(quantile_columns(levels)):
        columns[name] = forecast.quantiles[..., index].ravel()
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _decode(body: bytes, sidecar: dict[str, Any], levels: Sequence[float]) -> Forecast:
    frame = pd.read_parquet(io.BytesIO(body))
    n_series = int(sidecar["series"])
    columns = [frame[name].to_numpy().reshape(n_series, -1) for name in quantile_columns(levels)]
    return Forecast(
        point=frame["point"].to_numpy().reshape(n_series, -1),
        quantiles=np.stack(columns, axis=-1),
        failed=int(sidecar["failed"]),
        parameters=list(sidecar["parameters"]),
    )
