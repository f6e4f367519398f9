"""Rolling-origin backtest: what a model may see in each window, and what came after. Pure. Runs in the worker."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from instance.checkpoints import Finished
from instance.frequency import Times
from instance.metrics import mae, mase, seasonal_naive_scale, sharpe, wql
from instance.models.interface import Floats
from instance.series import SeriesSet


def cutoff(length: int, window: int, n_windows: int, horizon: int) -> int:
    """Return how many values of a series of `length` are known in `window`.

    Windows are `horizon` steps long and follow each other; the last one, `n_windows - 1`, ends at the last value.
    Window `n_windows` is the forecast beyond the data and knows everything.
    """
    return length - (n_windows - window) * horizon


def history(series: SeriesSet, window: int, n_windows: int) -> list[Floats]:
    """Return what a model may see in `window`: copies of the values up to each series' cutoff, and nothing later."""
    return [
        values[: cutoff(len(values), window, n_windows, series.prediction_length)].copy() for values in series.values
    ]


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


def actuals(series: SeriesSet, n_windows: int) -> Actuals:
    """Cut the backtest windows out of the series."""
    horizon, count = series.prediction_length, len(series.ids)
    shape = (n_windows, count, horizon)
    filled, observed = np.empty(shape), np.empty(shape, dtype=bool)
    times, cutoffs = np.empty(shape, dtype="datetime64[ns]"), np.empty(shape[:2], dtype="datetime64[ns]")
    scale = np.empty(shape[:2])
    for i, values in enumerate(series.values):
        start = cutoff(len(values), 0, n_windows, horizon)
        seen = np.where(series.observed[i], values, np.nan)
        stamps = series.times(i, start - 1, len(values))
        filled[:, i], observed[:, i] = (
            values[start:].reshape(-1, horizon),
            series.observed[i][start:].reshape(-1, horizon),
        )
        times[:, i], cutoffs[:, i] = stamps[1:].reshape(-1, horizon), stamps[:-1:horizon]
        for window in range(n_windows):
            known = cutoff(len(values), window, n_windows, horizon)
            scale[window, i] = seasonal_naive_scale(seen[:known], series.season_length)
    first = [values[cutoff(len(values), 0, n_windows, horizon) - 1] for values in series.values]
    y = np.where(observed, filled, np.nan)
    return Actuals(y, filled, observed, times, cutoffs, np.array(first), scale)


def score(
    what: Actuals, windows: list[Finished], series: SeriesSet, request: dict[str, Any]
) -> dict[str, float | None]:
    """Return the metrics the request asks for, over every window and series.

    Parameters
    ----------
    what : Actuals
        What came.
    windows : list of Finished
        The model's forecasts, one a window.
    series : SeriesSet
        For the frequency.
    request : dict
        metrics, quantile_levels, transaction_cost_bps.

    Returns
    -------
    dict
        By the names of model_metadata.json; None where a metric is not defined.
    """
    point = np.stack([window.forecast.point for window in windows])
    quantiles = np.stack([window.forecast.quantiles for window in windows])
    wanted = request["metrics"]
    scores: dict[str, float | None] = {}
    if "mae" in wanted:
        scores["mae"] = mae(what.y, point)
    if "mase" in wanted:
        scores["mase"] = mase(what.y, point, what.scale)
    if "wql" in wanted:
        scores["wql"] = wql(what.y, quantiles, np.array(request["quantile_levels"]))
    if "sharpe" in wanted:
        traded = sharpe(
            what.last,
            what.filled,
            point,
            what.times,
            what.observed,
            transaction_cost_bps=request["transaction_cost_bps"],
            periods_per_year=series.frequency.periods_per_year,
        )
        scores["sharpe_ratio"] = traded.ratio
        scores["sharpe_ratio_standard_error"] = traded.standard_error
    return scores
