"""Forecast metrics, each after its published formula. Pure. Runs on the instance, in the worker."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BASIS_POINT = 1e-4
MIN_RETURNS = 2
ZERO_VARIANCE = 1e-14


def mae(y: Floats, point: Floats) -> float | None:
    """Mean absolute error over every observed step, in units of y.

    Parameters
    ----------
    y, point : float64 arrays, same shape
        Observations (NaN where there is none) and point forecasts.

    Returns
    -------
    float or None
        None when nothing was observed.
    """
    return _mean(np.abs(y - point))


def seasonal_naive_scale(history: Floats, season_length: int) -> float:
    """In-sample mean absolute error of the seasonal naive forecast, the denominator of MASE.

    Parameters
    ----------
    history : float64 array, shape (n,)
        Values up to the cutoff; NaN where nothing was observed.
    season_length : int
        Steps in a season. A history no longer than that is compared at lag 1.

    Returns
    -------
    float
        NaN when it is zero or not defined (constant history).

    Notes
    -----
    Hyndman and Koehler (2006), "Another look at measures of forecast accuracy", International Journal of Forecasting
    22(4), section 3; with seasonality as in Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 5.8.
    """
    lag = season_length if len(history) > season_length else 1
    if len(history) <= lag:
        return float("nan")
    scale = _mean(np.abs(history[lag:] - history[:-lag]))
    return scale if scale else float("nan")


def mase(y: Floats, point: Floats, scale: Floats) -> float | None:
    """Mean absolute scaled error (Hyndman and Koehler 2006).

    Parameters
    ----------
    y, point : float64 arrays, shape (..., horizon)
        Observations (NaN where there is none) and point forecasts.
    scale : float64 array, shape (...)
        `seasonal_naive_scale` of the history before each forecast.

    Returns
    -------
    float or None
        Mean over series, windows and steps; those with an undefined scale are left out. None when none is left.
    """
    return _mean(np.abs(y - point) / scale[..., np.newaxis])


def wql(y: Floats, quantiles: Floats, levels: Floats) -> float | None:
    """Weighted quantile loss: twice the summed pinball loss over the sum of |y|, averaged over the quantile levels.

    Parameters
    ----------
    y : float64 array, shape (..., horizon)
        Observations, NaN where there is none.
    quantiles : float64 array, shape (..., horizon, n_levels)
        Forecast quantiles.
    levels : float64 array, shape (n_levels,)
        Levels in (0, 1).

    Returns
    -------
    float or None
        None when the observations sum to zero, or to more than a float can hold.

    Notes
    -----
    Ansari et al. (2024), "Chronos: Learning the Language of Time Series", appendix D; the same as GluonTS's
    mean_weighted_sum_quantile_loss.
    """
    total = np.nansum(np.abs(y))
    if not total:
        return None
    error = y[..., np.newaxis] - quantiles
    pinball = np.maximum(levels * error, (levels - 1) * error)
    loss = float(2 * np.nansum(pinball) / total / len(levels))
    return loss if np.isfinite(loss) else None


@dataclass(frozen=True)
class Sharpe:
    """An annualised Sharpe ratio with its standard error; both None when it is not defined."""

    ratio: float | None
    standard_error: float | None


def sharpe(
    last: Floats,
    y: Floats,
    point: Floats,
    times: npt.NDArray[Any],
    observed: npt.NDArray[np.bool_],
    *,
    transaction_cost_bps: float,
    periods_per_year: float,
) -> Sharpe:
    """Sharpe ratio of trading on the forecasts: the one definition used here.

    For one series let p(0) be the last known value before the first window, p(t) the value of step t, and f(t) the
    point forecast of step t. At the first step of a window the forecast starts from the last known value, so
    f(t - 1) = p(t - 1) there.

    - Position: s(t) = sign(f(t) - f(t-1)), long, flat or short by the forecast return of the step; every f of a window
      is known at its cutoff. A step that was
      not observed (a holiday) cannot be traded: s(t) = s(t-1). Positions are carried from window to window; before the
      first one s(0) = 0.
    - Return: r(t) = s(t) * (p(t) / p(t-1) - 1) - cost * |s(t) - s(t-1)|, with cost = transaction_cost_bps / 10,000.
    - Portfolio: R(t) = mean of r(t) over the series that have the timestamp t.
    - Ratio: SR = mean(R) / std(R, ddof=1), times sqrt(periods_per_year): B 252, D 365, W 52, months 12, h 8,760 ...
      The risk-free rate is taken as zero.
    - Standard error: sqrt((1 + SR^2 / 2) / T) with the ratio per step and T timestamps, annualised alike; for returns
      that are independent and identically distributed (Lo 2002, "The Statistics of Sharpe Ratios", Financial Analysts
      Journal 58(4), equation 9).

    Parameters
    ----------
    last : float64 array, shape (n_series,)
        p(0) of each series.
    y, point : float64 arrays, shape (n_windows, n_series, horizon)
        Values without NaN, and point forecasts; windows follow each other without a gap.
    times : datetime64 array, shape (n_windows, n_series, horizon)
        Timestamps.
    observed : bool array, shape (n_windows, n_series, horizon)
        False where a value was filled.
    transaction_cost_bps : float
        Cost of turning a position over, in basis points of its value.
    periods_per_year : float
        Steps in a year.

    Returns
    -------
    Sharpe
        Of None when it is not defined: a value that is not positive, no variance, fewer than two returns.
    """
    prices = np.concatenate([last[:, np.newaxis], _by_series(y)], axis=1)
    if not (prices > 0).all():
        return Sharpe(None, None)
    positions = _positions(prices, point, _by_series(observed))
    turnover = np.abs(np.diff(positions, axis=1, prepend=0.0))
    returns = positions * (prices[:, 1:] / prices[:, :-1] - 1) - transaction_cost_bps * BASIS_POINT * turnover
    return _annualised(_portfolio(returns, _by_series(times)), periods_per_year)


def _positions(prices: Floats, point: Floats, observed: npt.NDArray[np.bool_]) -> Floats:
    n_windows, n_series, horizon = point.shape
    known = prices[:, :-1:horizon].T.reshape(n_windows, n_series, 1)
    wanted = _by_series(np.sign(np.diff(np.concatenate([known, point], axis=2), axis=2)))
    positions, held = np.zeros_like(wanted), np.zeros(n_series)
    for step in range(wanted.shape[1]):
        held = np.where(observed[:, step], wanted[:, step], held)
        positions[:, step] = held
    return positions


def _portfolio(returns: Floats, times: npt.NDArray[Any]) -> Floats:
    _, index = np.unique(times, return_inverse=True)
    index = index.ravel()
    return np.bincount(index, weights=returns.ravel()) / np.bincount(index)


def _annualised(returns: Floats, periods_per_year: float) -> Sharpe:
    if len(returns) < MIN_RETURNS or np.std(returns, ddof=1) < ZERO_VARIANCE:
        return Sharpe(None, None)
    ratio = float(np.mean(returns) / np.std(returns, ddof=1))
    error = float(np.sqrt((1 + ratio**2 / 2) / len(returns)))
    yearly = float(np.sqrt(periods_per_year))
    return Sharpe(ratio * yearly, error * yearly)


def _by_series(windows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Lay windows end to end: (n_windows, n_series, horizon) -> (n_series, n_windows * horizon)."""
    return np.swapaxes(windows, 0, 1).reshape(windows.shape[1], -1)


def _mean(values: Floats) -> float | None:
    counted = values[np.isfinite(values)]
    return float(counted.mean()) if counted.size else None
