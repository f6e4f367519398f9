"""Statistical models and Chronos at once, against the longer of the two alone. Runs on a developer's computer.

Where there is no GPU the device is simulated: a model that waits as long as a GPU would compute and leaves the cores
alone. Everything else, lanes, pool, writing and scoring, is what a run does.
"""

import io
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.rows import Row, row
from benchmarks.training_runs import write_long_parquet
from contracts.documents import check
from instance.checksums import file_sha256
from instance.dataset import DataFile
from instance.forecasting import Forecasting, by_model
from instance.ingest import ingest
from instance.lanes import plan
from instance.models.auto_ets import AutoETS
from instance.models.core_pool import CorePool
from instance.models.interface import Forecast, Model, OnProgress, Panel
from instance.reporting import Reporter
from instance.series_store import SeriesStore

N_SERIES, LENGTH = 256, 120
ROUNDS = 3
DEVICE = "ChronosZeroShot"


class SimulatedDevice:
    """A model that takes a fixed time a chunk and no core."""

    name = DEVICE
    covariates: frozenset[str] = frozenset()

    def __init__(self, seconds_per_forecast: float) -> None:
        self.seconds_per_forecast = seconds_per_forecast

    def forecast(
        self, windows: Sequence[Panel], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> list[Forecast]:
        """Wait, and return zeros."""
        count = len(windows) * len(windows[0])
        time.sleep(self.seconds_per_forecast * count)
        on_progress(count)
        shape = (len(windows[0]), horizon)
        return [Forecast(np.zeros(shape), np.zeros((*shape, len(levels)))) for _ in windows]

    def save(self, folder: Path) -> None:
        """Write nothing."""

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say nothing."""
        del horizon, levels
        return []

    def close(self) -> None:
        """Hold nothing."""


def measure() -> list[Row]:
    """Time AutoETS alone, a device as busy as that alone, and both at once."""
    request = check("run_request", {"n_windows": 2, "prediction_length": 12, "season_length": 12, "metrics": ["mase"]})
    with tempfile.TemporaryDirectory() as folder, closing(CorePool(os.cpu_count() or 1)) as pool:
        scratch = Path(folder)
        data = write_long_parquet(scratch / "data.parquet", N_SERIES, LENGTH)
        files = [DataFile(data.name, data, file_sha256(data))]
        store = ingest(files, request, scratch / "series", lambda _: None)
        ets = AutoETS(12, pool, request["refit"])
        _seconds(store, request, scratch / "warm", {"AutoETS": ets})
        ratios = []
        for turn in range(ROUNDS):
            statistical = _seconds(store, request, scratch / f"ets-{turn}", {"AutoETS": ets})
            device = SimulatedDevice(0.9 * statistical / (N_SERIES * 3))
            alone = _seconds(store, request, scratch / f"device-{turn}", {DEVICE: device})
            both = _seconds(store, request, scratch / f"both-{turn}", {DEVICE: device, "AutoETS": ets})
            print(f"  AutoETS {statistical:.1f} s, device {alone:.1f} s, both {both:.1f} s", flush=True)
            ratios.append(both / max(statistical, alone))
    name = "AutoETS and Chronos at once (simulated device) / the longer alone"
    return [row(name, median(ratios), 1.1, at_most=True)]


def _seconds(store: SeriesStore, request: dict[str, Any], results: Path, models: dict[str, Model]) -> float:
    began = time.perf_counter()
    work = Forecasting(store, request, results, {}, Reporter(io.StringIO()))
    forecaster = by_model(models, store.info.prediction_length, request["quantile_levels"], 0)
    work.forecast(plan(list(models), "cuda"), forecaster, "")
    return time.perf_counter() - began
