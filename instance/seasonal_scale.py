"""The denominator of MASE: how far the seasonal naive forecast is off in each history. Pure. Runs in the worker."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]


def seasonal_naive_scales(values: Sequence[Floats], cutoffs: Positions, season_length: int) -> Floats:
    """In-sample mean absolute error of the seasonal naive forecast, for every series at every cutoff.

    For a history y(1) ... y(n) and a season of m steps: mean of |y(t) - y(t - m)| over t = m + 1 ... n. Differences in
    which a step was not observed are left out. A history no longer than a season is compared at lag 1.

    Parameters
    ----------
    values : sequence of float64 arrays, shape (length,) each
        Observations, oldest first; NaN where nothing was observed.
    cutoffs : int64 array, shape (n_windows, n_series)
        How many values each history has, growing from window to window.
    season_length : int
        Steps in a season.

    Returns
    -------
    float64 array, shape (n_windows, n_series)
        NaN where it is zero or not defined (constant or unobserved history). It depends on no value after the cutoff.

    Notes
    -----
    Hyndman and Koehler (2006), "Another look at measures of forecast accuracy", International Journal of Forecasting
    22(4), section 3; with seasonality as in Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 5.8.
    """
    lengths = np.array([len(one) for one in values], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    flat = np.concatenate(values)
    scales = _at_lag(flat, starts, cutoffs, season_length)
    short = cutoffs <= season_length
    if season_length > 1 and short.any():
        scales = np.where(short, _at_lag(flat, starts, cutoffs, 1), scales)
    return scales


def _at_lag(flat: Floats, starts: Positions, cutoffs: Positions, lag: int) -> Floats:
    """Mean absolute difference at `lag`, of series laid end to end; what crosses from one to the next is not summed."""
    # The trailing zero lets a segment begin at the end of the last series.
    apart = np.concatenate([np.full(min(lag, len(flat)), np.nan), np.abs(flat[lag:] - flat[:-lag]), [0.0]])
    defined = ~np.isnan(apart)
    edges = _edges(starts, cutoffs, lag)
    sums = _between(np.where(defined, apart, 0.0), edges)
    counts = _between(defined.astype(np.float64), edges)
    with np.errstate(divide="ignore", invalid="ignore"):
        scales = np.cumsum(sums, axis=1) / np.cumsum(counts, axis=1)
    return np.where(np.isfinite(scales) & (scales > 0), scales, np.nan).T


def _edges(starts: Positions, cutoffs: Positions, lag: int) -> Positions:
    """Where each series' differences begin, and where each of its histories ends: (n_series, n_windows + 1)."""
    ends = starts[:, np.newaxis] + cutoffs.T
    begin = np.minimum(starts + lag, ends[:, -1])[:, np.newaxis]
    return np.concatenate([begin, np.maximum(ends, begin)], axis=1)


def _between(values: Floats, edges: Positions) -> Floats:
    """Sum `values` between neighbouring edges of each row: (n_series, n_windows)."""
    sums = np.add.reduceat(values, edges.ravel()).reshape(edges.shape)[:, :-1]
    # reduceat gives the value itself, not zero, where a segment is empty.
    return np.where(np.diff(edges, axis=1) > 0, sums, 0.0)
