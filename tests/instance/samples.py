"""A data set, its manifest, and the names of a run that the instance's tests share."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contracts.documents import check
from contracts.layout import machine_folder
from instance.storage import Storage

BUCKET = "bucket"
RUN_ID = "20261123-180000"
PREFIX = "phase1/2026/11/23-180000/"
INSTANCE_ID = "i-0123456789abcdef0"
ROLE_ID = "AROAIOSFODNN7EXAMPLE1"
# What the machine of INSTANCE_ID writes, and nothing else.
FOLDER = machine_folder(PREFIX, ROLE_ID, INSTANCE_ID)
QUANTILES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def storage(attempt: int = 1) -> Storage:
    """Where an attempt of the run writes, and where those before it wrote."""
    own, *earlier = (machine_folder(PREFIX, ROLE_ID, f"i-{one:017x}") for one in range(attempt, 0, -1))
    return Storage(BUCKET, own, tuple(earlier))


def monthly_frame(n_series: int = 3, length: int = 60) -> pd.DataFrame:
    """Monthly series with a season, a trend and a little noise."""
    rng = np.random.default_rng(0)
    steps = np.arange(length)
    series = [
        pd.DataFrame(
            {
                "unique_id": f"series-{i}",
                "ds": pd.date_range("2020-01-01", periods=length, freq="MS"),
                "y": 50 + 0.2 * steps + 10 * np.sin(steps * np.pi / 6) + rng.normal(size=length),
            }
        )
        for i in range(n_series)
    ]
    return pd.concat(series, ignore_index=True)


def references(client: Any, prefix: str) -> list[dict[str, Any]]:
    """The objects below a prefix, as a manifest lists them."""
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    return [{"key": item["Key"], "bytes": item["Size"], "etag": item["ETag"]} for item in found]


def stage(client: Any, weights: Path, frame: pd.DataFrame, request: dict[str, Any]) -> dict[str, Any]:
    """Upload data and weights, and return the manifest of a run on them."""
    client.put_object(Bucket=BUCKET, Key="datasets/demo/a.csv", Body=frame.to_csv(index=False).encode())
    for path in weights.iterdir():
        client.put_object(Bucket=BUCKET, Key=f"cached-models/{weights.name}/{path.name}", Body=path.read_bytes())
    model_prefix = f"cached-models/{weights.name}/"
    return check(
        "manifest",
        {
            "schema_version": 1,
            "run_id": RUN_ID,
            "bucket": BUCKET,
            "prefix": PREFIX,
            "created_at": "2026-11-23T18:00:00Z",
            "deadline_at": "2126-11-23T20:00:00+00:00",
            "request": check("run_request", {"chronos_weights": weights.name, "allow_cpu": True, **request}),
            "dataset": {
                "name": "demo",
                "prefix": "datasets/demo/",
                "objects": references(client, "datasets/demo/"),
            },
            "chronos_weights": {
                "name": weights.name,
                "prefix": model_prefix,
                "objects": references(client, model_prefix),
            },
            "usd_per_hour": {"g4dn.2xlarge": {"on_demand": 0.768, "spot": 0.416}},
        },
    )
