"""Errors of forecasts in units that can be compared between series. Pure. Runs on a developer's computer."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def in_sample_scale(history: Floats, season_length: int) -> float:
    """Return the mean absolute change over a season: what a seasonal naive forecast was off by so far.

    The denominator of MASE (Hyndman and Koehler 2006, "Another look at measures of forecast accuracy", section 3).
    A history no longer than a season is compared at lag 1; NaN where nothing changed.
    """
    lag = season_length if len(history) > season_length else 1
    scale = float(np.abs(history[lag:] - history[:-lag]).mean())
    return scale if scale > 0 else float("nan")


def mase(y: Floats, point: Floats, scale: float) -> float:
    """Return the mean absolute scaled error of one forecast; y and point of shape (horizon,)."""
    return float(np.abs(y - point).mean() / scale)


def quantile_loss(y: Floats, quantiles: Floats, levels: Floats) -> float:
    """Return twice the pinball loss, averaged over levels and summed over steps, in units of y.

    Divided by the summed absolute values of y it is the weighted quantile loss (Ansari et al. 2024, "Chronos: Learning
    the Language of Time Series", appendix D).

    Parameters
    ----------
    y : float64 array, shape (horizon,)
    quantiles : float64 array, shape (horizon, n_levels)
    levels : float64 array, shape (n_levels,)
    """
    error = y[:, np.newaxis] - quantiles
    return float(2 * np.maximum(levels * error, (levels - 1) * error).mean(axis=1).sum())


def geometric_mean(values: Floats) -> float:
    """Return the geometric mean of positive numbers: half on one series and double on another make 1.

    Fleming and Wallace 1986, "How not to lie with statistics: the correct way to summarize benchmark results".
    """
    return float(np.exp(np.mean(np.log(values))))
