"""The yardstick of the benchmarks: repeat the last season. Runs on a developer's computer."""

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np

from instance.models.interface import Floats, Forecast, OnProgress


class SeasonalNaive:
    """Forecast each step by the value one season before, with normal intervals.

    The variance of the forecast is that of the seasonal differences times the number of seasons ahead (Hyndman and
    Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, sections 5.2 and 5.5).

    Parameters
    ----------
    season_length : int
        Steps in a season; 1 repeats the last value. A history no longer than a season is forecast by its last value.
    name : str
        Name in the results.
    """

    def __init__(self, season_length: int, name: str = "SeasonalNaive") -> None:
        self.season_length = season_length
        self.name = name

    def forecast(
        self, history: Sequence[Floats], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> Forecast:
        """Forecast each series; see `Model.forecast`."""
        z = np.array([NormalDist().inv_cdf(level) for level in levels])
        points, quantiles = [], []
        for values in history:
            point, spread = self._point_and_spread(values, horizon)
            points.append(point)
            quantiles.append(point[:, np.newaxis] + spread[:, np.newaxis] * z)
            on_progress(1)
        return Forecast(point=np.stack(points), quantiles=np.stack(quantiles))

    def save(self, folder: Path, ids: Sequence[str], final: Forecast) -> None:
        """Write nothing: there is no parameter to keep."""

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say nothing: it does what it is asked."""
        del horizon, levels
        return []

    def close(self) -> None:
        """Hold nothing, so give nothing back."""

    def _point_and_spread(self, values: Floats, horizon: int) -> tuple[Floats, Floats]:
        lag = self.season_length if len(values) > self.season_length else 1
        steps = np.arange(horizon)
        changes = values[lag:] - values[:-lag]
        sigma = float(np.sqrt(np.mean(changes**2))) if len(changes) else 0.0
        return values[-lag:][steps % lag], sigma * np.sqrt(steps // lag + 1)
