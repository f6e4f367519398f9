"""What statistical models have in common: one fit a series and window, on every core. Runs in the worker."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from instance.models.core_pool import CorePool
from instance.models.interface import Floats, Forecast, OnProgress, Panel
from instance.models.normal_quantiles import normal_quantiles
from instance.models.series_fit import Method, Parameters, SeriesTask, SeriesWindows, forecast_series

SETTINGS = "settings.json"
FORM, PARAMETERS = "form", "parameters"
MOST_PER_TASK = 4  # so that progress is told every few seconds
TASKS_PER_CORE = 4


class _Series(NamedTuple):
    """What every window says of one series, and its position in the panels."""

    position: int
    windows: SeriesWindows


class StatisticalModel(ABC):
    """A model that is fitted to each series by itself, with normal prediction intervals.

    A series that the model cannot fit in a window is forecast there by the seasonal naive method and listed in
    `Forecast.failures`; the others are not affected.

    Parameters
    ----------
    season_length : int
        Steps in a season.
    pool : CorePool
        Processes to fit in. Little data is fitted in this process, since starting processes takes seconds.
    refit : str
        "form" chooses the form and its parameters in every window; "parameters" chooses the form in the first window
        and estimates its parameters in each.
    fitted : mapping of str to dict, optional
        Parameters by unique_id, as in `Forecast.parameters`: series in it are forecast with these, and nothing is
        estimated. They must not come from values after a window's cutoff if the forecast is to be judged.
    """

    name: ClassVar[str]
    covariates: frozenset[str] = frozenset()

    def __init__(
        self,
        season_length: int,
        pool: CorePool,
        refit: str = PARAMETERS,
        fitted: Mapping[str, Parameters] | None = None,
    ) -> None:
        self.season_length = season_length
        self.pool = pool
        self.refit = refit
        self.fitted = fitted or {}

    @property
    @abstractmethod
    def method(self) -> Method:
        """How one series is fitted; it pickles."""

    @abstractmethod
    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say how the forecasts differ from what one would expect; see `Model.caveats`."""

    def forecast(
        self, windows: Sequence[Panel], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> list[Forecast]:
        """Fit and forecast each series in each window; see `Model.forecast`."""
        groups = self._groups([_Series(i, self._windows(windows, i)) for i in range(len(windows[0]))])
        tasks = [
            SeriesTask(self.method, [one.windows for one in group], self.season_length, horizon, self.refit == FORM)
            for group in groups
        ]
        done = self.pool.map(
            forecast_series,
            tasks,
            lambda group: on_progress(sum(len(fits) for fits in group)),
            steps=sum(len(values) for panel in windows for values in panel.values),
        )
        order = np.argsort([one.position for group in groups for one in group])
        fits = [fits for group in done for fits in group]
        by_window = zip(*(fits[i] for i in order), strict=True)
        return [
            Forecast(
                point=np.stack([fit.point for fit in window]),
                quantiles=normal_quantiles(
                    np.stack([fit.point for fit in window]), np.stack([fit.spread for fit in window]), levels
                ),
                failures={i: fit.failure for i, fit in enumerate(window) if fit.failure is not None},
                parameters=[fit.parameters for fit in window],
            )
            for window in by_window
        ]

    def save(self, folder: Path) -> None:
        """Write the settings; the parameters of the series are with the forecasts."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"season_length": self.season_length, "refit": self.refit}
        (folder / SETTINGS).write_text(json.dumps(settings))

    @classmethod
    def load(cls, folder: Path, parameters: Mapping[str, Parameters], pool: CorePool) -> Self:
        """Return a model that forecasts with given parameters, without any search or estimation.

        Parameters
        ----------
        folder : Path
            Where the model was saved.
        parameters : mapping of str to dict
            By unique_id, from `Forecast.parameters`; other series are fitted as if new.
        pool : CorePool
            Processes to work in.
        """
        settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text())
        return cls(pool=pool, fitted=parameters, **settings)

    def close(self) -> None:  # noqa: B027 - nothing to give back is right for all of them
        """Leave the processes to the other models; whoever made the pool ends them."""

    def _windows(self, windows: Sequence[Panel], index: int) -> SeriesWindows:
        known = [panel.known[index] if panel.known else None for panel in windows] if self.covariates else []
        return SeriesWindows(
            values=[panel.values[index] for panel in windows],
            known=known or [None] * len(windows),
            fitted=self.fitted.get(windows[0].ids[index]),
        )

    def _groups(self, series: list[_Series]) -> list[list[_Series]]:
        """Share the series out, the longest first: a core that ends early then has only short ones left to take."""
        size = min(MOST_PER_TASK, max(1, len(series) // (TASKS_PER_CORE * self.pool.cores)))
        longest_first = sorted(series, key=lambda one: -len(one.windows.values[-1]))
        return [longest_first[i : i + size] for i in range(0, len(series), size)]


def as_floats(values: Floats | Sequence[float]) -> list[float | None]:
    """Return numbers as JSON takes them: None where there is none."""
    return [float(value) if np.isfinite(value) else None for value in values]


def as_array(numbers: Sequence[float | None]) -> Floats:
    """Return what `as_floats` wrote, NaN where it wrote None."""
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
