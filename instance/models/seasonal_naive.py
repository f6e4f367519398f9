"""SeasonalNaive: repeat the last season; also what stands in for a model that fails. Runs in the worker."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from instance.models.interface import Floats, Forecast, OnProgress, Panel
from instance.models.normal_quantiles import normal_quantiles

SETTINGS = "settings.json"


class SeasonalNaive:
    """Forecast each step by the value one season before, with normal intervals; see `seasonal_naive`.

    Parameters
    ----------
    season_length : int
        Steps in a season; 1 repeats the last value.
    """

    name = "SeasonalNaive"
    covariates: frozenset[str] = frozenset()

    def __init__(self, season_length: int) -> None:
        self.season_length = season_length

    def forecast(
        self, windows: Sequence[Panel], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> list[Forecast]:
        """Forecast each panel; see `Model.forecast`."""
        return [self._panel(panel, horizon, levels, on_progress) for panel in windows]

    def save(self, folder: Path) -> None:
        """Write the season length."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SETTINGS).write_text(json.dumps({"season_length": self.season_length}))

    @classmethod
    def load(cls, folder: Path) -> "SeasonalNaive":
        """Return the model that was saved in `folder`."""
        return cls(**json.loads((folder / SETTINGS).read_text()))

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say nothing: it does what it is asked."""
        del horizon, levels
        return []

    def close(self) -> None:
        """Hold nothing, so give nothing back."""

    def _panel(self, panel: Panel, horizon: int, levels: Sequence[float], on_progress: OnProgress) -> Forecast:
        made = [seasonal_naive(values, self.season_length, horizon) for values in panel.values]
        point, spread = (np.stack(column) for column in zip(*made, strict=True))
        on_progress(len(panel))
        no_parameters: list[dict[str, Any]] = []
        return Forecast(point, normal_quantiles(point, spread, levels), parameters=no_parameters)


def seasonal_naive(values: Floats, season_length: int, horizon: int) -> tuple[Floats, Floats]:
    """Repeat the last season of one series.

    The variance of the forecast is that of the seasonal differences times the number of seasons ahead (Hyndman and
    Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, sections 5.2 and 5.5).

    Parameters
    ----------
    values : float64 array, shape (length,)
        At least one value, oldest first. A history no longer than a season is forecast by its last value.
    season_length, horizon : int
        Steps.

    Returns
    -------
    point, spread : float64 arrays, shape (horizon,)
        Mean and standard deviation.
    """
    lag = season_length if len(values) > season_length else 1
    steps = np.arange(horizon)
    changes = values[lag:] - values[:-lag]
    sigma = float(np.sqrt(np.mean(changes**2))) if len(changes) else 0.0
    return values[-lag:][steps % lag], sigma * np.sqrt(steps // lag + 1)
