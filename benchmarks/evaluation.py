"""Forecast the rolling windows of real series and compare models series by series. Runs on a developer's computer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy import geometric_mean, in_sample_scale, mase, quantile_loss
from benchmarks.contenders import LEVELS, MEDIAN, Forecaster
from benchmarks.series_files import Series

Floats = npt.NDArray[np.float64]
FEWEST_SEASONS = 2
FEWEST_VALUES = 8


@dataclass(frozen=True)
class Window:
    """One forecast to make.

    Parameters
    ----------
    series : str
    seen : float64 array, shape (at most max_history,)
        What the models get.
    y : float64 array, shape (horizon,)
    scale : float
        Of MASE, from the whole history before the cutoff.
    """

    series: str
    seen: Floats
    y: Floats
    scale: float


@dataclass(frozen=True)
class Scores:
    """How good one model was.

    Parameters
    ----------
    mase_by_series : float64 array, shape (n_series,)
        Mean over windows and steps, in the order of the series' names.
    wql : float
        Weighted quantile loss over all windows.
    """

    mase_by_series: Floats
    wql: float

    @property
    def mase(self) -> float:
        """Mean over the series."""
        return float(self.mase_by_series.mean())


def rolling_windows(series: Series, season_length: int, horizon: int, n_windows: int, max_history: int) -> list[Window]:
    """Cut every series at successive cutoffs, the last window ending at its last value.

    A window is left out where fewer than two seasons, or fewer than `FEWEST_VALUES`, come before it, or where the scale
    of MASE is not defined.

    Parameters
    ----------
    series : dict of str to float64 array, shape (length,)
    season_length, horizon, n_windows, max_history : int
        In steps; no model sees more than `max_history` values before a cutoff, so that none has more to go by.
    """
    windows = []
    for name, values in sorted(series.items()):
        for back in range(n_windows, 0, -1):
            cutoff = len(values) - back * horizon
            if cutoff < max(FEWEST_SEASONS * season_length, FEWEST_VALUES):
                continue
            scale = in_sample_scale(values[:cutoff], season_length)
            if np.isfinite(scale):
                seen = values[max(cutoff - max_history, 0) : cutoff]
                windows.append(Window(name, seen, values[cutoff : cutoff + horizon], scale))
    return windows


def score(windows: list[Window], forecaster: Forecaster, season_length: int) -> Scores:
    """Let a model forecast all windows, and judge it."""
    horizon = len(windows[0].y)
    made = forecaster([window.seen for window in windows], horizon, season_length)
    errors: dict[str, list[float]] = {}
    loss = size = 0.0
    for window, quantiles in zip(windows, made, strict=True):
        errors.setdefault(window.series, []).append(mase(window.y, quantiles[:, MEDIAN], window.scale))
        loss += quantile_loss(window.y, quantiles, LEVELS)
        size += float(np.abs(window.y).sum())
    return Scores(np.array([np.mean(errors[name]) for name in sorted(errors)]), loss / size)


def relative(scores: Mapping[str, Scores], name: str, to: str) -> float:
    """Return the geometric mean over the series of one model's MASE over another's; below 1 is better.

    A series that the other forecast without any error has no ratio and is left out.
    """
    return geometric_mean(ratios(scores, name, to))


def ratios(scores: Mapping[str, Scores], name: str, to: str) -> Floats:
    """Return MASE of model `name` over that of model `to`, one a series."""
    ours, theirs = scores[name].mase_by_series, scores[to].mase_by_series
    return np.asarray(ours[theirs > 0] / theirs[theirs > 0])


def share_better(scores: Mapping[str, Scores], name: str, than: str) -> float:
    """Return the share of the series on which the MASE of model `name` is below that of model `than`."""
    return float(np.mean(scores[name].mase_by_series < scores[than].mase_by_series))
