"""Series, panels and short calls for the tests of the statistical models. Used by pytest."""

from typing import Any

import numpy as np

from instance.models.auto_arima import AutoARIMA
from instance.models.auto_ets import AutoETS
from instance.models.core_pool import CorePool
from instance.models.interface import Forecast, Panel
from instance.models.seasonal_naive import SeasonalNaive
from instance.models.statistical import StatisticalModel
from instance.models.theta import DynamicOptimizedTheta

LEVELS = [0.1, 0.5, 0.9]
KINDS = [AutoETS, AutoARIMA, DynamicOptimizedTheta]
Kind = type[StatisticalModel]


def waves(*lengths: int, season: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [20 + 5 * np.sin(np.arange(n) * 2 * np.pi / season) + rng.normal(size=n) for n in lengths]


def panel(*values: Any, season: int = 12, known: list[np.ndarray] | None = None) -> Panel:
    series = [np.asarray(one, dtype=np.float64) for one in values]
    return Panel([f"s{i}" for i in range(len(series))], series, season, known=known)


def alone(kind: Any, season: int = 12, refit: str = "parameters") -> Any:
    return SeasonalNaive(season) if kind is SeasonalNaive else kind(season, CorePool(1), refit)


def forecast(model: Any, *windows: Panel, horizon: int = 4, levels: list[float] = LEVELS) -> list[Forecast]:
    return model.forecast(list(windows), horizon, levels, lambda _: None)
