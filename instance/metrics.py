"""Metrics of forecasts, each a ratio of sums after its published formula. Pure. Runs in the worker."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from instance.scores import SeriesScores, interval
from instance.sharpe import Sharpe, sharpe

Floats = npt.NDArray[np.float64]


class Ratio(NamedTuple):
    """A metric as a ratio: summed over all series, or over those drawn in a resample.

    Parameters
    ----------
    numerator, denominator : float64 arrays, shape (n_series,)
        What each series adds.
    root : bool
        Whether the metric is the square root of the ratio.
    """

    numerator: Floats
    denominator: Floats
    root: bool = False

    def value(self) -> float | None:
        """Return the metric of all series; None where it is not defined or beyond a float."""
        with np.errstate(all="ignore"):
            found = float(self.of(self.numerator.sum(), self.denominator.sum()))
        return found if np.isfinite(found) else None

    def of(self, numerator: Floats, denominator: Floats) -> Floats:
        """Return the metric for sums of numerators and of denominators, any shape; NaN or inf where undefined."""
        ratio = numerator / denominator
        return np.sqrt(ratio) if self.root else ratio


def mean_absolute_error(scores: SeriesScores) -> Ratio:
    """MAE: mean of |y - f| over every observed step, in units of y.

    Notes
    -----
    Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd edition), 5.8.
    """
    return Ratio(scores.absolute_error, scores.steps)


def root_mean_squared_error(scores: SeriesScores) -> Ratio:
    """RMSE: root of the mean of (y - f)^2 over every observed step, in units of y.

    Notes
    -----
    Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd edition), 5.8. The root is taken once, of the
    mean over all series.
    """
    return Ratio(scores.squared_error, scores.steps, root=True)


def mean_absolute_scaled_error(scores: SeriesScores) -> Ratio:
    """MASE: mean of |y - f| over the scale of the history before it; below 1 beats the seasonal naive forecast there.

    Series and windows whose scale is not defined (`seasonal_naive_scales`) are left out.

    Notes
    -----
    Hyndman and Koehler (2006), "Another look at measures of forecast accuracy", International Journal of Forecasting
    22(4), section 3.
    """
    return Ratio(scores.scaled_error, scores.scaled_steps)


def weighted_quantile_loss(scores: SeriesScores) -> Ratio:
    """WQL: twice the summed pinball loss over the sum of |y|, averaged over the quantile levels.

    Notes
    -----
    Ansari et al. (2024), "Chronos: Learning the Language of Time Series", appendix D; the same as GluonTS's
    mean_weighted_sum_quantile_loss.
    """
    return Ratio(2.0 * scores.pinball / len(scores.levels), scores.size)


def interval_coverage(scores: SeriesScores) -> Ratio:
    """Coverage: share of the observed steps within the outermost symmetric pair of quantiles, borders included.

    A calibrated model comes to the distance of the two levels (`interval_level`): 0.8 for 0.1 and 0.9.

    Notes
    -----
    Christoffersen (1998), "Evaluating Interval Forecasts", International Economic Review 39(4): the mean of the
    indicator of section 2. Not defined when no two levels add up to 1.
    """
    steps = scores.steps if interval(scores.levels) else np.zeros(len(scores))
    return Ratio(scores.covered, steps)


def direction_accuracy(scores: SeriesScores) -> Ratio:
    """Direction accuracy: share of steps with sign(y(t) - p) = sign(f(t) - p), p the last known value at the cutoff.

    A step whose value is the last known one moved in no direction and is left out, like one that was not observed. A
    forecast of no change names no direction: it is a miss wherever the value moved.

    Notes
    -----
    Pesaran and Timmermann (1992), "A Simple Nonparametric Test of Predictive Performance", Journal of Business &
    Economic Statistics 10(4): the proportion of correctly predicted signs.
    """
    return Ratio(scores.direction_hits, scores.directions)


RATIOS: dict[str, Callable[[SeriesScores], Ratio]] = {
    "mae": mean_absolute_error,
    "rmse": root_mean_squared_error,
    "mase": mean_absolute_scaled_error,
    "wql": weighted_quantile_loss,
    "coverage": interval_coverage,
    "direction_accuracy": direction_accuracy,
}


def metrics(scores: SeriesScores, wanted: Collection[str], periods_per_year: float) -> dict[str, float | None]:
    """Return the metrics that a request asks for.

    Parameters
    ----------
    scores : SeriesScores
        Of every series; with returns when the Sharpe ratio is wanted.
    wanted : collection of str
        Out of mae, rmse, mase, wql, coverage, direction_accuracy, sharpe.
    periods_per_year : float
        Steps in a year, for the Sharpe ratio.

    Returns
    -------
    dict
        By the names of model_metadata.json; None where a metric is not defined.
    """
    values = {name: ratio(scores).value() for name, ratio in RATIOS.items() if name in wanted}
    if "coverage" in values:
        values = {"interval_coverage" if name == "coverage" else name: value for name, value in values.items()}
        values["interval_level"] = interval_level(scores)
    if "sharpe" in wanted:
        traded = sharpe(scores.returns, periods_per_year) if scores.returns else Sharpe(None, None)
        values |= {"sharpe_ratio": traded.ratio, "sharpe_ratio_standard_error": traded.standard_error}
    return values


def interval_level(scores: SeriesScores) -> float | None:
    """Return the share of values that the interval of `interval_coverage` should hold; None when there is none."""
    pair = interval(scores.levels)
    # Rounded, since 0.9 - 0.1 is not 0.8 in floats.
    return round(scores.levels[pair[1]] - scores.levels[pair[0]], 9) if pair else None
