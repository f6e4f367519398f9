"""Compare models series by series on the backtest windows of a run. Runs on a developer's computer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from instance.backtest import Actuals, actuals, history
from instance.metrics import mase, wql
from instance.models.interface import Floats, Model
from instance.series import SeriesSet

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Scores:
    """How good one model was.

    Parameters
    ----------
    mase_by_series : float64 array, shape (n_series,)
        Mean over windows and steps.
    mase, wql : float
        Over all series, windows and steps.
    failed : int
        Forecasts that a fallback made because the model could not.
    """

    mase_by_series: Floats
    mase: float
    wql: float
    failed: int


def evaluate(models: Sequence[Model], series: SeriesSet, n_windows: int, max_history: int) -> dict[str, Scores]:
    """Forecast every window of every series with every model.

    Parameters
    ----------
    models : sequence of Model
        Each gets only values up to the cutoff of a window.
    series : SeriesSet
        Horizon and season length come from it; steps that were not observed are not scored.
    n_windows : int
        Windows that follow each other, the last one ending at the last value.
    max_history : int
        Most steps before a cutoff that any model gets to see: the same for all, so that none has more to go by. MASE
        is scaled by the whole history all the same.

    Returns
    -------
    dict of str to Scores
        By model name.
    """
    known = [
        values[-max_history:] for window in range(n_windows) for values in history(series, window, n_windows)
    ]  # n_windows * n_series, window by window
    what = actuals(series, n_windows)
    return {model.name: _scores(model, known, what) for model in models}


def relative(scores: Mapping[str, Scores], name: str, to: str) -> float:
    """Geometric mean over series of the MASE of model `name` over that of model `to`; below 1 is better.

    The geometric mean gives the two models the same part: half the error on one series and twice on another make 1
    (Fleming and Wallace 1986, "How not to lie with statistics: the correct way to summarize benchmark results").
    """
    ratios = scores[name].mase_by_series / scores[to].mase_by_series
    return float(np.exp(np.mean(np.log(ratios))))


def share_better(scores: Mapping[str, Scores], name: str, than: str) -> float:
    """Share of the series on which the MASE of model `name` is below that of model `than`."""
    return float(np.mean(scores[name].mase_by_series < scores[than].mase_by_series))


def _scores(model: Model, known: Sequence[Floats], what: Actuals) -> Scores:
    made = model.forecast(known, what.y.shape[-1], LEVELS, lambda _: None)
    point, quantiles = made.point.reshape(what.y.shape), made.quantiles.reshape(*what.y.shape, len(LEVELS))
    by_series = [mase(what.y[:, i], point[:, i], what.scale[:, i]) for i in range(what.y.shape[1])]
    return Scores(
        mase_by_series=np.array(by_series, dtype=np.float64),
        mase=_number(mase(what.y, point, what.scale)),
        wql=_number(wql(what.y, quantiles, np.array(LEVELS))),
        failed=made.failed,
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
