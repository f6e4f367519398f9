"""What a forecasting model is to the rest of the instance. Runs in the worker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Forecast:
    """Forecasts of a batch of series.

    Parameters
    ----------
    point : float64 array, shape (n_series, horizon)
        The median of Chronos, the mean of AutoETS (its median, too, where the intervals are normal).
    quantiles : float64 array, shape (n_series, horizon, n_levels)
        Quantile forecasts, one a level, in the order of the levels asked for; they do not cross.
    failed : int
        Series that the model itself could not forecast and a fallback did.
    parameters : list of dict
        Fitted parameters, one entry a series; empty for a model that is not fitted.
    """

    point: Floats
    quantiles: Floats
    failed: int = 0
    parameters: list[dict[str, Any]] = field(default_factory=list)


class Model(Protocol):
    """A model that forecasts many series in one call."""

    name: str

    def forecast(
        self, history: Sequence[Floats], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> Forecast:
        """Forecast `horizon` steps beyond each history.

        Parameters
        ----------
        history : sequence of float64 arrays, shape (length,) each
            Values without NaN, oldest first; lengths may differ.
        horizon : int
            Steps to forecast.
        levels : sequence of float
            Quantile levels in (0, 1), any order; quantiles come back in the same order.
        on_progress : callable
            Called with the number of series that were done since its last call.

        Returns
        -------
        Forecast
        """

    def save(self, folder: Path, ids: Sequence[str], final: Forecast) -> None:
        """Write what describes the model into `folder`, as JSON; `final` is the forecast beyond the data."""

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Return sentences on how forecasts of these steps and levels differ from what one would expect."""

    def close(self) -> None:
        """Give back processes and memory."""
