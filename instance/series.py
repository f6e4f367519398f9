"""Regular series of one frequency, as models and metrics take them. Runs on the instance, in the worker."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instance.frequency import Frequency, Times

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SeriesSet:
    """Regular series, each of its own length, with one frequency.

    Parameters
    ----------
    ids : list of str
        Names, sorted.
    values : list of float64 arrays, shape (length,) each
        One value a step, no NaN: a gap holds the last value before it.
    observed : list of bool arrays, shape (length,) each
        False where `values` was filled.
    first : datetime64[ns] array, shape (n_series,)
        Timestamp of each series' first value.
    frequency : Frequency
    season_length, prediction_length : int
        Steps.
    past : list of float64 arrays, shape (n_past, length) each, optional
        Covariates known up to the present, no NaN.
    known : list of float64 arrays, shape (n_known, length + prediction_length) each, optional
        Covariates known in advance, no NaN.
    """

    ids: list[str]
    values: list[Values]
    observed: list[Mask]
    first: Times
    frequency: Frequency
    season_length: int
    prediction_length: int
    past: list[Values] | None = None
    known: list[Values] | None = None

    def times(self, series: int, start: int, stop: int) -> Times:
        """Return the timestamps of steps `start` to `stop` of a series; may reach beyond its end."""
        return self.frequency.times(self.first[series], np.arange(start, stop))
