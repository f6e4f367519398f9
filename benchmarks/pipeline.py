"""A run's training phase with Chronos against the raw model on ready tensors. Runs on a developer's computer."""

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.rows import Row, row
from benchmarks.training_runs import BOLT_TINY, bolt_folder, train, write_long_parquet

N_SERIES, CONTEXT, HORIZON, N_WINDOWS = 2000, 512, 64, 1
BATCH = 128
ROUNDS = 3


def measure() -> list[Row]:
    """Time both on the same number of forecasts with the same context, in turns, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        # Long enough for a whole context before the first window.
        data = write_long_parquet(scratch / "data.parquet", N_SERIES, CONTEXT + N_WINDOWS * HORIZON)
        weights = bolt_folder(scratch / "bolt-tiny-dimensions", BOLT_TINY)
        pairs = []
        for turn in range(ROUNDS):
            raw, whole = _raw_seconds(weights), _whole_seconds(data, scratch / f"run-{turn}", weights)
            print(f"  raw model {raw:.2f} s, training phase {whole:.2f} s", flush=True)
            pairs.append(raw / whole)
    return [row("Chronos forecasting end to end / raw model, bolt-tiny dimensions", median(pairs), 0.95)]


def _raw_seconds(weights: Path) -> float:
    import torch  # noqa: PLC0415 - a second to import
    from chronos import BaseChronosPipeline  # noqa: PLC0415

    model = BaseChronosPipeline.from_pretrained(str(weights), device_map="cpu", dtype=torch.float32).inner_model
    values = np.random.default_rng(0).normal(size=(BATCH, CONTEXT)).astype(np.float32)
    context = torch.from_numpy(values)
    batches, rest = divmod(N_SERIES * (N_WINDOWS + 1), BATCH)
    with torch.inference_mode():
        model(context=context)
        began = time.perf_counter()
        for _ in range(batches):
            model(context=context)
        if rest:
            model(context=context[:rest])
        return time.perf_counter() - began


def _whole_seconds(data: Path, work_dir: Path, weights: Path) -> float:
    request = {"models": ["ChronosZeroShot"], "n_windows": N_WINDOWS, "prediction_length": HORIZON}
    began = time.perf_counter()
    train(data, work_dir, request, weights)
    return time.perf_counter() - began
