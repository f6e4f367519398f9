"""The training phase of a run on made data, without a cloud around it. For benchmarks."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from benchmarks.shelf import Shelf
from contracts.documents import check
from instance.checksums import file_sha256
from instance.data_sync import Inputs
from instance.dataset import DataFile
from instance.hardware import Placement
from instance.reporting import Reporter
from instance.storage import Storage
from instance.training import Training

ROOT = Path(__file__).parents[1]
NANO = ROOT / "models" / "chronos-bolt-nano"
CPU = Placement("cpu", "float32")
SERIES_IN_GROUP = 1000
# Dimensions of amazon/chronos-bolt-tiny, from its config.json on the Hugging Face Hub.
BOLT_TINY = {"d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 4, "num_decoder_layers": 4, "num_heads": 4}
# Those of the first bundled weights: 0.66 M parameters, half of what the present ones compute.
NANO_066 = {"d_model": 96, "d_kv": 24, "d_ff": 192, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4}
QUANTILES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def write_long_parquet(path: Path, n_series: int, length: int, seed: int = 0) -> Path:
    """Write made hourly series in the long format, a thousand at a time; return the path."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    times = np.datetime64("2020-01-01", "s") + np.arange(length) * np.timedelta64(3600, "s")
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema({"unique_id": pa.string(), "ds": pa.timestamp("s"), "y": pa.float64()})
    with parquet.ParquetWriter(path, schema, use_dictionary=["unique_id", "ds"]) as writer:
        for names, values in _made(n_series, length, seed):
            ids = np.repeat(np.array(names, dtype=object), length)
            columns = {"unique_id": ids, "ds": np.tile(times, len(names)), "y": values.ravel()}
            writer.write_table(pa.table(columns, schema=schema))
    return path


def _made(n_series: int, length: int, seed: int) -> Iterator[tuple[list[str], Any]]:
    random = np.random.default_rng(seed)
    steps = np.arange(length)
    for start in range(0, n_series, SERIES_IN_GROUP):
        count = min(SERIES_IN_GROUP, n_series - start)
        level = random.uniform(20, 200, (count, 1))
        season = np.sin(2 * np.pi * (steps / 24 + random.uniform(0, 1, (count, 1)))) * random.uniform(
            0, 0.3, (count, 1)
        )
        walk = np.cumsum(random.normal(0, 0.01, (count, length)), axis=1)
        yield [f"series-{start + i:06d}" for i in range(count)], level * np.exp(walk + season)


def bolt_folder(folder: Path, dimensions: dict[str, int]) -> Path:
    """Save a Chronos-Bolt of random weights with some dimensions and patches of 16 values; return the folder."""
    import torch  # noqa: PLC0415
    from chronos.chronos_bolt import ChronosBoltModelForForecasting  # noqa: PLC0415
    from transformers import T5Config  # noqa: PLC0415

    torch.manual_seed(0)
    config = T5Config.from_dict({
        **dimensions, "dropout_rate": 0.0, "is_encoder_decoder": True, "use_cache": False, "pad_token_id": 0,
        "eos_token_id": 1, "decoder_start_token_id": 0, "vocab_size": 2, "feed_forward_proj": "relu",
        "initializer_factor": 0.05, "chronos_pipeline_class": "ChronosBoltPipeline",
        "architectures": ["ChronosBoltModelForForecasting"],
        "chronos_config": {
            "context_length": 512, "prediction_length": 64, "input_patch_size": 16, "input_patch_stride": 16,
            "quantiles": QUANTILES, "use_reg_token": True,
        },
    })  # fmt: skip
    ChronosBoltModelForForecasting(config).save_pretrained(folder)
    return folder


def train(
    data: Path,
    work_dir: Path,
    request: dict[str, Any],
    weights: Path = NANO,
    *,
    shelf: Path | None = None,
    attempt: int = 1,
    events: TextIO | None = None,
) -> dict[str, Any]:
    """Run the training phase on a data file; return its details.

    Parameters
    ----------
    data : Path
        A file in the long format.
    work_dir : Path
        Scratch and results.
    request : dict
        Fields of a request that are not the default.
    weights : Path
        Folder of the Chronos weights.
    shelf : Path, optional
        Folder that stands for the bucket; by default in `work_dir`.
    attempt : int
        Takes up the checkpoints that the attempts before it left in the bucket.
    events : TextIO, optional
        Takes the reports, one JSON object a line.
    """
    manifest = {
        "run_id": "20260101-000000",
        "bucket": "bucket",
        "dataset": {"name": data.stem},
        "request": check("run_request", request),
    }
    inputs = Inputs([DataFile(data.name, data, file_sha256(data))], weights)
    (work_dir / "results").mkdir(parents=True, exist_ok=True)
    client = Shelf(shelf or work_dir / "bucket")
    reporter = Reporter(events or io.StringIO())
    with reporter.phase("training") as details:
        Training(client, manifest, _storage(attempt), inputs, CPU, work_dir, reporter).run(details)
    return details


def _storage(attempt: int) -> Storage:
    own, *earlier = (f"phase1/2026/01/01-000000/machines/role:i-{one:08x}/" for one in range(attempt, 0, -1))
    return Storage("bucket", own, tuple(earlier))


def metadata(work_dir: Path) -> dict[str, Any]:
    """Return model_metadata.json of a training phase."""
    document: dict[str, Any] = json.loads((work_dir / "results" / "model_metadata.json").read_text())
    return document
