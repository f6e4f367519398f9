"""The Sharpe ratio of trading on forecasts, summed chunk by chunk. Pure. Runs in the worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from instance.frequency import Times

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BASIS_POINT = 1e-4
MIN_RETURNS = 2
ZERO_VARIANCE = 1e-14


@dataclass(frozen=True)
class Sharpe:
    """An annualised Sharpe ratio with its standard error; both None when it is not defined."""

    ratio: float | None
    standard_error: float | None


@dataclass(frozen=True)
class PortfolioReturns:
    """Returns of trading some series, summed by timestamp; those of more series are added by `merge`.

    Parameters
    ----------
    times : datetime64[ns] array, shape (n_times,)
        Distinct, ascending.
    sums : float64 array, shape (n_times,)
        Sum of the series' returns at each timestamp.
    counts : int64 array, shape (n_times,)
        Series that have the timestamp.
    tradable : bool
        Whether every value was positive; a return on anything else means nothing.
    """

    times: Times
    sums: Floats
    counts: Counts
    tradable: bool


def portfolio_returns(
    last: Floats,
    y: Floats,
    point: Floats,
    times: Times,
    observed: npt.NDArray[np.bool_],
    *,
    transaction_cost_bps: float,
) -> PortfolioReturns:
    """Trade each series on its forecasts; `sharpe` has the definition.

    Parameters
    ----------
    last : float64 array, shape (n_series,)
        p(0) of each series.
    y, point : float64 arrays, shape (n_windows, n_series, horizon)
        Values without NaN, and point forecasts; windows follow each other without a gap.
    times : datetime64[ns] array, shape (n_windows, n_series, horizon)
        Timestamps.
    observed : bool array, shape (n_windows, n_series, horizon)
        False where a value was filled.
    transaction_cost_bps : float
        Cost of turning a position over, in basis points of its value.
    """
    prices = np.concatenate([last[:, np.newaxis], _by_series(y)], axis=1)
    if not (prices > 0).all():
        return PortfolioReturns(np.empty(0, dtype="datetime64[ns]"), np.empty(0), np.empty(0, dtype=np.int64), False)
    positions = _positions(prices, point, _by_series(observed))
    turnover = np.abs(np.diff(positions, axis=1, prepend=0.0))
    returns = positions * (prices[:, 1:] / prices[:, :-1] - 1) - transaction_cost_bps * BASIS_POINT * turnover
    return _by_time(returns, _by_series(times))


def merge(parts: Sequence[PortfolioReturns]) -> PortfolioReturns:
    """Add up the returns of several sets of series."""
    times, index = np.unique(np.concatenate([part.times for part in parts]), return_inverse=True)
    sums, counts = np.zeros(len(times)), np.zeros(len(times), dtype=np.int64)
    np.add.at(sums, index, np.concatenate([part.sums for part in parts]))
    np.add.at(counts, index, np.concatenate([part.counts for part in parts]))
    return PortfolioReturns(times, sums, counts, all(part.tradable for part in parts))


def sharpe(returns: PortfolioReturns, periods_per_year: float) -> Sharpe:
    """Sharpe ratio of trading on the forecasts: the one definition used here.

    For one series let p(0) be the last known value before the first window, p(t) the value of step t, and f(t) the
    point forecast of step t. At the first step of a window the forecast starts from the last known value, so
    f(t - 1) = p(t - 1) there.

    - Position: s(t) = sign(f(t) - f(t-1)), long, flat or short by the forecast return of the step; every f of a window
      is known at its cutoff. A step that was not observed (a holiday) cannot be traded: s(t) = s(t-1). Positions are
      carried from window to window; before the first one s(0) = 0.
    - Return: r(t) = s(t) * (p(t) / p(t-1) - 1) - cost * |s(t) - s(t-1)|, with cost = transaction_cost_bps / 10,000.
    - Portfolio: R(t) = mean of r(t) over the series that have the timestamp t.
    - Ratio: SR = mean(R) / std(R, ddof=1), times sqrt(periods_per_year): B 252, D 365, W 52, months 12, h 8,760 ...
      The risk-free rate is taken as zero (Sharpe 1994, "The Sharpe Ratio", Journal of Portfolio Management 21(1),
      equations 3 to 6).
    - Standard error: sqrt((1 + SR^2 / 2) / T) with the ratio per step and T timestamps, annualised alike; for returns
      that are independent and identically distributed (Lo 2002, "The Statistics of Sharpe Ratios", Financial Analysts
      Journal 58(4), equation 9).

    Parameters
    ----------
    returns : PortfolioReturns
        Of every series.
    periods_per_year : float
        Steps in a year.

    Returns
    -------
    Sharpe
        Of None when it is not defined: a value that is not positive, no variance, fewer than two returns.
    """
    portfolio = returns.sums / returns.counts
    if not returns.tradable or len(portfolio) < MIN_RETURNS or not np.std(portfolio, ddof=1) >= ZERO_VARIANCE:
        return Sharpe(None, None)
    ratio = float(np.mean(portfolio) / np.std(portfolio, ddof=1))
    error = float(np.sqrt((1 + ratio**2 / 2) / len(portfolio)))
    yearly = float(np.sqrt(periods_per_year))
    return Sharpe(ratio * yearly, error * yearly)


def _positions(prices: Floats, point: Floats, observed: npt.NDArray[np.bool_]) -> Floats:
    n_windows, n_series, horizon = point.shape
    known = prices[:, :-1:horizon].T.reshape(n_windows, n_series, 1)
    wanted = _by_series(np.sign(np.diff(np.concatenate([known, point], axis=2), axis=2)))
    # Where nothing was observed, the position of the last observed step is held; step -1 is the flat one before all.
    steps = np.arange(wanted.shape[1])
    held = np.maximum.accumulate(np.where(observed, steps, -1), axis=1)
    return np.where(held < 0, 0.0, np.take_along_axis(wanted, np.maximum(held, 0), axis=1))


def _by_time(returns: Floats, times: Times) -> PortfolioReturns:
    if (times == times[:1]).all():
        # The usual case, and ten times faster than sorting every timestamp.
        counts = np.full(times.shape[1], len(times), dtype=np.int64)
        return PortfolioReturns(times[0].copy(), returns.sum(axis=0), counts, True)
    distinct, index = np.unique(times, return_inverse=True)
    sums = np.bincount(index.ravel(), weights=returns.ravel()).astype(np.float64)
    return PortfolioReturns(distinct, sums, np.bincount(index.ravel()), True)


def _by_series(windows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Lay windows end to end: (n_windows, n_series, horizon) -> (n_series, n_windows * horizon)."""
    return np.swapaxes(windows, 0, 1).reshape(windows.shape[1], -1)
