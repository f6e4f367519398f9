"""What a forecasting model is to the rest of the instance. Runs in the worker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
OnProgress = Callable[[int], None]

PAST, KNOWN = "past", "known"


@dataclass(frozen=True)
class Panel:
    """What a model may see of some series at one cutoff, and nothing later but what is known of the future.

    Parameters
    ----------
    ids : list of str
        Names of the series.
    values : list of float64 arrays, shape (length,) each
        At least five values without NaN, oldest first; lengths may differ.
    season_length : int
        Steps in a season.
    past : list of float64 arrays, shape (n_past, length) each, optional
        Covariates known up to the cutoff.
    known : list of float64 arrays, shape (n_known, length + horizon) each, optional
        Covariates known beyond the cutoff, too.
    """

    ids: list[str]
    values: list[Floats]
    season_length: int
    past: list[Floats] | None = None
    known: list[Floats] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Forecast:
    """Forecasts of the series of a panel.

    Parameters
    ----------
    point : float64 array, shape (n_series, horizon)
        The median of Chronos, the mean of the statistical models.
    quantiles : float64 array, shape (n_series, horizon, n_levels)
        Quantile forecasts, one a level, in the order of the levels asked for; finite, and they do not cross.
    failures : mapping of int to str
        Why the model itself could not forecast a series, by its index in the panel; a fallback did.
    parameters : list of dict
        Fitted parameters, one entry a series; empty for a model that keeps none by series.
    """

    point: Floats
    quantiles: Floats
    failures: Mapping[int, str] = field(default_factory=dict)
    parameters: list[dict[str, Any]] = field(default_factory=list)


class Model(Protocol):
    """A model that forecasts many series in one call."""

    @property
    def name(self) -> str:
        """Name in a request."""

    @property
    def covariates(self) -> frozenset[str]:
        """Which covariates it uses: `PAST`, `KNOWN`, both or none."""

    def forecast(
        self, windows: Sequence[Panel], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> list[Forecast]:
        """Forecast `horizon` steps beyond each panel. May be called from two threads at once.

        Parameters
        ----------
        windows : sequence of Panel
            The same series at successive cutoffs. What is learnt at one cutoff may serve at the later ones.
        horizon : int
            Steps to forecast.
        levels : sequence of float
            Quantile levels in (0, 1), any order; quantiles come back in the same order.
        on_progress : callable
            Called with the number of series forecasts that were done since its last call: in all, series times windows.

        Returns
        -------
        list of Forecast
            One a panel, in the same order.
        """

    def save(self, folder: Path) -> None:
        """Write what all series share, into `folder`; parameters of single series are with the forecasts."""

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Return sentences on how forecasts of these steps and levels differ from what one would expect."""

    def close(self) -> None:
        """Give back processes and memory."""
