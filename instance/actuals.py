"""What came after each cutoff of a backtest: the truth that forecasts are judged by. Pure. Runs in the worker."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from instance.frequency import Times
from instance.models.interface import Floats
from instance.seasonal_scale import seasonal_naive_scales
from instance.series import SeriesSet


@dataclass(frozen=True)
class Actuals:
    """What came after the cutoffs; all arrays (n_windows, n_series, horizon) unless said otherwise.

    Parameters
    ----------
    y : float64 array
        Observations, NaN where there is none.
    filled : float64 array
        Values without NaN.
    observed : bool array
    times : datetime64[ns] array
    cutoffs : datetime64[ns] array, shape (n_windows, n_series)
        Timestamp of the last known value.
    last : float64 array, shape (n_series,)
        Last known value before the first window.
    scale : float64 array, shape (n_windows, n_series)
        Seasonal naive error of each history, for MASE.
    """

    y: Floats
    filled: Floats
    observed: npt.NDArray[np.bool_]
    times: Times
    cutoffs: Times
    last: Floats
    scale: Floats

    @property
    def known(self) -> Floats:
        """Last known value of each series before each window, shape (n_windows, n_series)."""
        return np.concatenate([self.last[np.newaxis], self.filled[:-1, :, -1]])


def actuals(series: SeriesSet, n_windows: int) -> Actuals:
    """Cut the backtest windows out of the series.

    Parameters
    ----------
    series : SeriesSet
        Each at least `n_windows * prediction_length + 1` steps long.
    n_windows : int
        Windows that follow each other, `prediction_length` steps each; the last one ends at the last value.
    """
    steps = n_windows * series.prediction_length
    lengths = np.array([len(values) for values in series.values], dtype=np.int64)
    tail = np.stack([values[-steps - 1 :] for values in series.values])
    seen = np.stack([mask[-steps:] for mask in series.observed])
    times = series.frequency.times(np.asarray(series.first)[:, np.newaxis], _positions(lengths, steps))
    filled, observed = _by_window(tail[:, 1:], n_windows), _by_window(seen, n_windows)
    return Actuals(
        y=np.where(observed, filled, np.nan),
        filled=filled,
        observed=observed,
        times=_by_window(times[:, 1:], n_windows),
        cutoffs=np.ascontiguousarray(times[:, : -1 : series.prediction_length].T),
        last=tail[:, 0].copy(),
        scale=_scales(series, lengths, n_windows),
    )


def _positions(lengths: npt.NDArray[np.int64], steps: int) -> npt.NDArray[np.int64]:
    """Count steps from the first value to each from the last known one to the end: (n_series, steps + 1)."""
    return lengths[:, np.newaxis] - 1 + np.arange(-steps, 1)


def _scales(series: SeriesSet, lengths: npt.NDArray[np.int64], n_windows: int) -> Floats:
    ahead = np.arange(n_windows, 0, -1)[:, np.newaxis] * series.prediction_length
    known = [np.where(mask, values, np.nan) for mask, values in zip(series.observed, series.values, strict=True)]
    return seasonal_naive_scales(known, lengths - ahead, series.season_length)


def _by_window(rows: npt.NDArray[Any], n_windows: int) -> npt.NDArray[Any]:
    """Cut rows into windows: (n_series, n_windows * horizon) -> (n_windows, n_series, horizon)."""
    return np.ascontiguousarray(np.swapaxes(rows.reshape(len(rows), n_windows, -1), 0, 1))
