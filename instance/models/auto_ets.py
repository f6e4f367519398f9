"""AutoETS: exponential smoothing chosen by AICc, fitted on every core. Runs in the worker and its child processes."""

import json
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from instance.models.interface import Floats, Forecast, OnProgress

MOST_PER_TASK = 16
TASKS_PER_CORE = 2
FEWEST_STEPS_FOR_PROCESSES = 5_000  # at about half a millisecond a step, as long as processes take to start
LONGEST_SEASON = 24  # as forecast::ets, which estimates one state per step of the season
POINT_LEVEL = 0.5


class SeriesForecast(NamedTuple):
    """Forecast of one series: point (horizon,), quantiles (horizon, n_levels), parameters, whether AutoETS failed."""

    point: Floats
    quantiles: Floats
    parameters: dict[str, Any]
    failed: bool


class AutoETS:
    """Error-trend-seasonality models (Hyndman et al. 2008) as statsforecast fits them, normal prediction intervals.

    A series that AutoETS cannot fit is forecast by the seasonal naive method and counted.

    Parameters
    ----------
    season_length : int
        Steps in a season. Seasons longer than 24 steps are left out of the model, as R's forecast::ets does.
    cores : int
        Processes to fit in; little data is fitted in this process, since starting processes takes seconds.
    """

    name = "AutoETS"

    def __init__(self, season_length: int, cores: int) -> None:
        self.season_length = season_length
        self.cores = cores
        self.pool: ProcessPoolExecutor | None = None

    def forecast(
        self, history: Sequence[Floats], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> Forecast:
        """Fit and forecast each series; see `Model.forecast`."""
        if min(self.cores, len(history)) == 1 or sum(map(len, history)) < FEWEST_STEPS_FOR_PROCESSES:
            done = self._in_this_process(history, horizon, levels, on_progress)
        else:
            size = min(MOST_PER_TASK, max(1, len(history) // (TASKS_PER_CORE * self.cores)))
            done = self._in_processes(
                [(list(history[i : i + size]), self.season_length, horizon, list(levels))
                 for i in range(0, len(history), size)],
                on_progress,
            )  # fmt: skip
        return Forecast(
            point=np.stack([one.point for one in done]),
            quantiles=np.stack([one.quantiles for one in done]),
            failed=sum(one.failed for one in done),
            parameters=[one.parameters for one in done],
        )

    def save(self, folder: Path, ids: Sequence[str], final: Forecast) -> None:
        """Write the fitted parameters of every series, by unique_id."""
        folder.mkdir(parents=True, exist_ok=True)
        fitted = dict(zip(ids, final.parameters, strict=True))
        document = {"season_length": self.season_length, "series": fitted}
        (folder / "parameters.json").write_text(json.dumps(document, indent=1, allow_nan=False))

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say when the season is left out; see `Model.caveats`."""
        del horizon, levels
        if self.season_length <= LONGEST_SEASON:
            return []
        return [
            f"the season of {self.season_length} steps is longer than the {LONGEST_SEASON} that AutoETS models, "
            "so its forecasts have no season."
        ]

    def close(self) -> None:
        """End the processes."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
            self.pool = None

    def _in_this_process(
        self, history: Sequence[Floats], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> list[SeriesForecast]:
        done = []
        for values in history:
            done.append(forecast_series(values, self.season_length, horizon, levels))
            on_progress(1)
        return done

    def _in_processes(self, tasks: list[Any], on_progress: OnProgress) -> list[SeriesForecast]:
        if self.pool is None:
            # Not forked: this process may hold PyTorch's threads and a CUDA context, which do not survive a fork.
            self.pool = ProcessPoolExecutor(self.cores, mp_context=get_context("spawn"))
        futures: list[Future[list[SeriesForecast]]] = [self.pool.submit(_forecast_chunk, *task) for task in tasks]
        waiting = set(futures)
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            on_progress(sum(len(future.result()) for future in finished))
        return [one for future in futures for one in future.result()]


def forecast_series(values: Floats, season_length: int, horizon: int, levels: Sequence[float]) -> SeriesForecast:
    """Fit one series and forecast it, by the seasonal naive method when AutoETS fails.

    Parameters
    ----------
    values : float64 array, shape (length,)
        The history.
    season_length, horizon : int
        Steps.
    levels : sequence of float
        Quantile levels.
    """
    try:
        return _auto_ets(values, season_length, horizon, levels)
    except Exception as error:
        return _seasonal_naive(values, season_length, horizon, levels, f"{type(error).__name__}: {error}"[:200])


def _forecast_chunk(
    history: list[Floats], season_length: int, horizon: int, levels: list[float]
) -> list[SeriesForecast]:
    return [forecast_series(values, season_length, horizon, levels) for values in history]


def _auto_ets(values: Floats, season_length: int, horizon: int, levels: Sequence[float]) -> SeriesForecast:
    from statsforecast.models import AutoETS as StatsForecastETS  # noqa: PLC0415 - a second to import

    model = StatsForecastETS(season_length=season_length if season_length <= LONGEST_SEASON else 1)
    model.fit(values)
    fitted: dict[str, Any] = model.model_
    # The central interval that holds a share c ends at the quantiles (1 - c) / 2 and (1 + c) / 2.
    shares = {level: round(abs(2 * level - 1) * 100, 6) for level in levels if level != POINT_LEVEL}
    asked: list[Any] = sorted(set(shares.values()))  # typed as int there, any number works
    result = model.predict(horizon, level=asked or None)
    point = np.asarray(result["mean"], dtype=np.float64)
    columns = [
        point if level not in shares else result[f"{'lo' if level < POINT_LEVEL else 'hi'}-{shares[level]}"]
        for level in levels
    ]
    quantiles = _in_level_order(np.stack(columns, axis=-1), levels)
    if not (np.isfinite(point).all() and np.isfinite(quantiles).all()):
        raise ValueError("the forecast is not finite")
    return SeriesForecast(point, quantiles, _parameters(fitted), failed=False)


def _parameters(fitted: dict[str, Any]) -> dict[str, Any]:
    """Return what of a fit is worth keeping; a constant series has no more than its value."""
    return {
        "method": str(fitted.get("method", "constant")),
        "components": str(fitted.get("components", "")),
        "parameters": [_finite(value) for value in np.atleast_1d(fitted.get("par", []))],
        "sigma2": _finite(fitted.get("sigma2", 0.0)),
        "aicc": _finite(fitted.get("aicc", np.nan)),
    }


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None


def _seasonal_naive(
    values: Floats, season_length: int, horizon: int, levels: Sequence[float], why: str
) -> SeriesForecast:
    """Repeat the last season; residual variance grows with the seasons ahead (FPP3, section 5.5)."""
    lag = season_length if len(values) > season_length else 1
    steps = np.arange(horizon)
    point = values[-lag:][steps % lag]
    residuals = values[lag:] - values[:-lag]
    sigma = float(np.sqrt(np.mean(residuals**2))) if len(residuals) else 0.0
    spread = sigma * np.sqrt(steps // lag + 1)
    z = np.array([NormalDist().inv_cdf(level) for level in levels])
    quantiles = point[:, np.newaxis] + spread[:, np.newaxis] * z
    return SeriesForecast(point, quantiles, {"method": "SeasonalNaive", "because": why}, failed=True)


def _in_level_order(quantiles: Floats, levels: Sequence[float]) -> Floats:
    ranks = np.argsort(np.argsort(levels))
    return np.sort(quantiles, axis=-1)[..., ranks]
