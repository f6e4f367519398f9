"""Weigh the models of a run and blend what they forecast, chunk by chunk. Runs in the worker."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from instance.actuals import actuals
from instance.checkpoints import Checkpoints, Unit
from instance.models.ensemble import Ensemble, Sample
from instance.models.interface import Forecast, OnProgress, Panel
from instance.series_store import SeriesStore

MOST_VALUES = 8_000_000  # 64 MB of forecasts: as many series as the weights need, and no more than memory takes
MOST_SERIES = 2_000


class Blend:
    """Forecasts of an ensemble, from those that its members have made.

    Parameters
    ----------
    ensemble : Ensemble
        With its weights.
    checkpoints : mapping of str to Checkpoints
        Where the members' forecasts are, by model.
    """

    def __init__(self, ensemble: Ensemble, checkpoints: Mapping[str, Checkpoints]) -> None:
        self.ensemble = ensemble
        self.checkpoints = checkpoints

    def __call__(self, name: str, chunk: int, windows: list[Panel], on_progress: OnProgress) -> list[Forecast]:
        """Blend a chunk."""
        del name
        members = {member: kept.again(Unit(member, chunk)).forecasts for member, kept in self.checkpoints.items()}
        forecasts = self.ensemble.forecast_windows(members)
        on_progress(len(windows) * len(windows[0]))
        return forecasts


def choose_weights(store: SeriesStore, request: dict[str, Any], checkpoints: Mapping[str, Checkpoints]) -> Ensemble:
    """Return an ensemble whose weights come from the backtest windows of a sample of the chunks.

    Parameters
    ----------
    store : SeriesStore
        The series.
    request : dict
        n_windows, quantile_levels.
    checkpoints : mapping of str to Checkpoints
        Where the members' forecasts are, by model.
    """
    levels = request["quantile_levels"]
    ensemble = Ensemble(levels)
    parts = [_sample(store, chunk, request["n_windows"], checkpoints) for chunk in _chunks(store, request, checkpoints)]
    ensemble.fit(
        Sample(
            y=np.concatenate([part.y for part in parts], axis=1),
            scale=np.concatenate([part.scale for part in parts], axis=1),
            quantiles={name: np.concatenate([part.quantiles[name] for part in parts], axis=1) for name in checkpoints},
        )
    )
    return ensemble


def _chunks(store: SeriesStore, request: dict[str, Any], checkpoints: Mapping[str, Checkpoints]) -> list[int]:
    """Return chunks, evenly spread, that hold a sample of bounded size."""
    in_chunk = -(-store.info.n_series // store.chunks)
    values = in_chunk * request["n_windows"] * store.info.prediction_length * len(request["quantile_levels"])
    count = max(1, min(MOST_SERIES // in_chunk, MOST_VALUES // (values * len(checkpoints)), store.chunks))
    return [int(chunk) for chunk in np.unique(np.linspace(0, store.chunks - 1, count).astype(np.int64))]


def _sample(store: SeriesStore, chunk: int, n_windows: int, checkpoints: Mapping[str, Checkpoints]) -> Sample:
    what = actuals(store.chunk(chunk), n_windows)
    windows = {name: kept.again(Unit(name, chunk)).forecasts[:-1] for name, kept in checkpoints.items()}
    return Sample(
        y=what.y,
        scale=what.scale,
        quantiles={name: np.stack([one.quantiles for one in made]) for name, made in windows.items()},
    )
