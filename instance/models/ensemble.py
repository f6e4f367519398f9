"""Ensemble: a weighted average of the other models, chosen greedily on the backtest. Pure. Runs in the worker."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from instance.models.interface import Floats, Forecast

Weights = dict[str, float]

SETTINGS = "settings.json"
PICKS = 25
LEAST_GAIN = 1e-9  # a share of the loss; less is rounding, and the smaller set is kept


@dataclass(frozen=True)
class Sample:
    """What the weights are chosen on: some series, all backtest windows.

    Parameters
    ----------
    y : float64 array, shape (n_windows, n_series, horizon)
        What came, NaN where nothing was observed.
    scale : float64 array, shape (n_windows, n_series)
        What errors of a series are divided by, as in MASE; series with NaN or 0 there do not count.
    quantiles : mapping of str to float64 array, shape (n_windows, n_series, horizon, n_levels)
        Forecasts by model name. Among equals the model that comes first is preferred.
    """

    y: Floats
    scale: Floats
    quantiles: Mapping[str, Floats]

    def before(self, window: int) -> "Sample":
        """Return what was known before backtest window `window` began."""
        earlier = {name: one[:window] for name, one in self.quantiles.items()}
        return Sample(self.y[:window], self.scale[:window], earlier)


class Ensemble:
    """A weighted average of quantile forecasts.

    The weights of a backtest window come from the windows before it, those of the forecast beyond the data from all of
    them; in the first window there is nothing to go by and all models weigh the same.

    Parameters
    ----------
    levels : sequence of float
        Quantile levels, in the order in which the models give them.
    weights : sequence of dict, optional
        One dict of model name to weight per backtest window, and a last one for the forecast beyond the data.
    """

    name = "Ensemble"

    def __init__(self, levels: Sequence[float], weights: Sequence[Weights] = ()) -> None:
        self.levels = list(levels)
        self.weights = list(weights)

    def fit(self, sample: Sample) -> list[Weights]:
        """Choose the weights of every window and of the forecast beyond the data; returns them, too."""
        self.weights = [select(sample.before(window), self.levels) for window in range(len(sample.y) + 1)]
        return self.weights

    def forecast_windows(self, by_model: Mapping[str, Sequence[Forecast]]) -> list[Forecast]:
        """Blend the models' forecasts of some series, one a window and the one beyond the data last.

        Raises
        ------
        ValueError
            There are more or fewer forecasts than the weights were chosen for.
        """
        counts = {name: len(forecasts) for name, forecasts in by_model.items()}
        if set(counts.values()) != {len(self.weights)}:
            raise ValueError(
                f"expected {len(self.weights)} forecasts from each model, one for each set of weights, found {counts}; "
                "fit the ensemble on the backtest of the same run."
            )
        return [
            blend({name: forecasts[window] for name, forecasts in by_model.items()}, weights)
            for window, weights in enumerate(self.weights)
        ]

    def save(self, folder: Path) -> None:
        """Write levels and weights."""
        folder.mkdir(parents=True, exist_ok=True)
        document = {"quantile_levels": self.levels, "weights": self.weights}
        (folder / SETTINGS).write_text(json.dumps(document, indent=1, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> "Ensemble":
        """Return the ensemble that was saved in `folder`."""
        document = json.loads((folder / SETTINGS).read_text())
        return cls(document["quantile_levels"], document["weights"])

    def caveats(self) -> list[str]:
        """Say what the weights are, and what the first window's are not."""
        if not self.weights:
            return []
        final = ", ".join(f"{name} {weight:.2f}" for name, weight in self.weights[-1].items() if weight)
        return [
            f"weights beyond the data: {final}.",
            "in the first window all models weigh the same, since nothing comes before it.",
        ]


def select(sample: Sample, levels: Sequence[float], size: int = PICKS) -> Weights:
    """Choose weights by greedy selection with replacement.

    Models are picked one after the other, each time the one whose addition to the average makes its loss lowest; the
    picks up to the lowest loss seen become the weights. The first pick is the best single model, so on the sample the
    result is never worse than that. Caruana, Niculescu-Mizil, Crew and Ksikes (2004), "Ensemble selection from
    libraries of models", ICML, sections 2 and 2.2.

    Parameters
    ----------
    sample : Sample
        At least one model.
    levels : sequence of float
        Quantile levels, as in the sample.
    size : int
        Picks.

    Returns
    -------
    dict
        Weight by model name, 0 or more, summing to 1; equal ones where the sample has nothing to judge by.

    Notes
    -----
    The loss is the pinball loss, divided by the scale of each series and averaged over what was observed and levels.
    """
    names = list(sample.quantiles)
    judged = _Judged.of(sample, levels)
    if not judged.y.size:
        return dict.fromkeys(names, 1 / len(names))
    picks: list[str] = []
    total, lowest, best = np.zeros(1), np.inf, 0
    for count in range(1, size + 1):
        losses = {name: judged.loss((total + judged.quantiles[name]) / count) for name in names}
        picked = _lowest(losses)
        picks.append(picked)
        total = total + judged.quantiles[picked]
        if losses[picked] < lowest * (1 - LEAST_GAIN) or count == 1:
            lowest, best = losses[picked], count
    return {name: picks[:best].count(name) / best for name in names}


def blend(forecasts: Mapping[str, Forecast], weights: Weights) -> Forecast:
    """Average forecasts of the same series.

    Quantiles are averaged level by level, which keeps their order. A series counts as failed where every model that
    has a weight failed.

    Parameters
    ----------
    forecasts : mapping of str to Forecast
        By model name.
    weights : dict
        By model name, summing to 1.
    """
    used = {name: weight for name, weight in weights.items() if weight > 0}
    failed = [forecasts[name].failures for name in used]
    everywhere = set.intersection(*(set(one) for one in failed))
    return Forecast(
        point=_average([weight * forecasts[name].point for name, weight in used.items()]),
        quantiles=_average([weight * forecasts[name].quantiles for name, weight in used.items()]),
        failures={index: failed[0][index] for index in sorted(everywhere)},
    )


@dataclass(frozen=True)
class _Judged:
    """The observed steps of a sample, each divided by its scale: y (n, 1), quantiles (n, n_levels), levels."""

    y: Floats
    quantiles: dict[str, Floats]
    levels: Floats

    @classmethod
    def of(cls, sample: Sample, levels: Sequence[float]) -> "_Judged":
        scale = np.where(sample.scale > 0, sample.scale, np.nan)[..., np.newaxis]
        scaled = sample.y / scale
        seen = np.isfinite(scaled)
        quantiles = {name: (one / scale[..., np.newaxis])[seen] for name, one in sample.quantiles.items()}
        return cls(scaled[seen][:, np.newaxis], quantiles, np.asarray(levels, dtype=np.float64))

    def loss(self, quantiles: Floats) -> float:
        """Mean pinball loss: (level - 1{y < q}) (y - q)."""
        error = self.y - quantiles
        return float(np.mean(np.maximum(self.levels * error, (self.levels - 1) * error)))


def _lowest(losses: Mapping[str, float]) -> str:
    """Return the first name whose loss is the lowest but for rounding."""
    lowest = min(losses.values())
    return next(name for name, loss in losses.items() if loss <= lowest * (1 + LEAST_GAIN))


def _average(weighted: list[Floats]) -> Floats:
    average: Floats = np.sum(weighted, axis=0)
    return average
