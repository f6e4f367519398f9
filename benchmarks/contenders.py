"""The models that are compared, each a function from histories to quantiles. Runs on a developer's computer."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Forecaster = Callable[[Sequence[Floats], int, int], Floats]

LEVELS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
MEDIAN = 4
INTERVALS = [20, 40, 60, 80]  # per cent, the symmetric ones whose ends are the levels
LONGEST_ETS_SEASON = 24
BATCH_SIZE = 256


@dataclass(frozen=True)
class Chronos:
    """Chronos weights in a folder, by the package's own pipeline.

    Parameters
    ----------
    folder : Path
    """

    folder: Path

    def __call__(self, histories: Sequence[Floats], horizon: int, season_length: int) -> Floats:
        """Forecast each history; float64, shape (n, horizon, n_levels), sorted along the levels."""
        import torch  # noqa: PLC0415 - seconds to import; the processes that fit AutoETS do without
        from chronos import BaseChronosPipeline  # noqa: PLC0415 - as above

        del season_length
        pipeline = BaseChronosPipeline.from_pretrained(self.folder, device_map="cpu", dtype=torch.float32)
        made = []
        for begin in range(0, len(histories), BATCH_SIZE):
            batch = [torch.tensor(one, dtype=torch.float32) for one in histories[begin : begin + BATCH_SIZE]]
            quantiles, _ = pipeline.predict_quantiles(batch, horizon, LEVELS.tolist())
            made.append(np.sort(quantiles.numpy().astype(np.float64), axis=2))
        return np.concatenate(made)


@dataclass(frozen=True)
class Statistical:
    """A model of statsforecast, fitted to each history alone, in several processes.

    Parameters
    ----------
    kind : str
        SeasonalNaive, Naive (the last value) or AutoETS.
    processes : int
    """

    kind: str
    processes: int = 2

    def __call__(self, histories: Sequence[Floats], horizon: int, season_length: int) -> Floats:
        """Forecast each history; float64, shape (n, horizon, n_levels)."""
        one = partial(_statistical, kind=self.kind, horizon=horizon, season_length=season_length)
        if self.kind != "AutoETS":
            return np.stack([one(history) for history in histories])
        with ProcessPoolExecutor(self.processes) as pool:
            return np.stack(list(pool.map(one, histories, chunksize=4)))


def _statistical(history: Floats, kind: str, horizon: int, season_length: int) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = _model(kind, season_length, len(history)).forecast(y=history, h=horizon, level=INTERVALS)
    lower = [made[f"lo-{level}"] for level in reversed(INTERVALS)]
    upper = [made[f"hi-{level}"] for level in INTERVALS]
    quantiles = np.stack([*lower, made["mean"], *upper], axis=1).astype(np.float64)
    return np.where(np.isfinite(quantiles), quantiles, np.asarray(made["mean"])[:, np.newaxis])


def _model(kind: str, season_length: int, length: int) -> Any:
    """Return the model; AutoETS takes no season that it cannot estimate."""
    from statsforecast import models  # noqa: PLC0415 - seconds to import, in each process that needs it

    if kind == "Naive" or length <= season_length:
        return models.Naive() if kind != "AutoETS" else models.AutoETS(season_length=1)
    if kind == "SeasonalNaive":
        return models.SeasonalNaive(season_length=season_length)
    return models.AutoETS(season_length=season_length if season_length <= LONGEST_ETS_SEASON else 1)
