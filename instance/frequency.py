"""Sampling frequencies: infer one from timestamps, count steps, name the season. Runs in the worker."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.datetime64]
Positions = npt.NDArray[np.int64]

DAY = 86_400
LAST_DAY = np.datetime64("2262-04-10")
MAX_DEFAULT_HORIZON = 64
DAILY_HORIZON = 14

FIXED_SECONDS = {
    "min": 60, "5min": 300, "10min": 600, "15min": 900, "30min": 1800, "h": 3600, "D": DAY, "W": 7 * DAY,
}  # fmt: skip
MONTHS = {"MS": 1, "ME": 1, "QS": 3, "QE": 3, "YS": 12, "YE": 12}
SEASON = {"h": 24, "D": 7, "B": 5, "W": 52, "MS": 12, "ME": 12, "QS": 4, "QE": 4}
PERIODS_PER_YEAR = {
    "min": 525_600.0, "5min": 105_120.0, "10min": 52_560.0, "15min": 35_040.0, "30min": 17_520.0, "h": 8_760.0,
    "D": 365.0, "B": 252.0, "W": 52.0, "MS": 12.0, "ME": 12.0, "QS": 4.0, "QE": 4.0, "YS": 1.0, "YE": 1.0,
}  # fmt: skip
CHOICES = tuple(PERIODS_PER_YEAR)


@dataclass(frozen=True)
class Frequency:
    """A sampling frequency, by its pandas alias out of `CHOICES`."""

    alias: str

    @property
    def season_length(self) -> int:
        """Steps in the usual season."""
        return SEASON.get(self.alias, 1)

    @property
    def prediction_length(self) -> int:
        """Steps forecast by default: a season, at most 64, and two weeks of daily data."""
        return DAILY_HORIZON if self.alias == "D" else min(self.season_length, MAX_DEFAULT_HORIZON)

    @property
    def periods_per_year(self) -> float:
        """Steps in a year, for annualisation (252 trading days for `B`)."""
        return PERIODS_PER_YEAR[self.alias]

    def positions(self, times: Times, first: Times) -> tuple[Positions, npt.NDArray[np.bool_]]:
        """Count the steps from `first` to `times`.

        Parameters
        ----------
        times, first : array of datetime64[ns], same shape
            Timestamps, and for each the first timestamp of its series.

        Returns
        -------
        positions : array of int64
            Steps since `first`.
        aligned : array of bool
            False where a timestamp is not on the grid that `first` and the frequency span.
        """
        if self.alias in FIXED_SECONDS:
            step = np.timedelta64(FIXED_SECONDS[self.alias], "s").astype("timedelta64[ns]")
            apart = (times - first).astype("timedelta64[ns]")
            return (apart // step).astype(np.int64), apart % step == np.timedelta64(0, "ns")
        same_clock = _clock(times) == _clock(first)
        days, first_days = times.astype("datetime64[D]"), first.astype("datetime64[D]")
        if self.alias == "B":
            return np.busday_count(first_days, days), same_clock & np.is_busday(days) & np.is_busday(first_days)
        return self._month_positions(days, first_days, same_clock)

    def times(self, first: np.datetime64 | Times, positions: Positions) -> Times:
        """Return the timestamps `positions` steps after `first`, the inverse of `positions`.

        Parameters
        ----------
        first : datetime64[ns], or array of them
            First timestamps; an array of shape (n_series, 1) gives those of many series at once.
        positions : array of int64
            Steps since `first`, of a shape that broadcasts with it.

        Raises
        ------
        OverflowError
            A timestamp is later than datetime64[ns] can hold, in the year 2262.
        """
        if self.alias in FIXED_SECONDS:
            seconds = (positions * FIXED_SECONDS[self.alias]).astype("timedelta64[s]")
            _refuse_overflow(first.astype("datetime64[s]") + seconds)
            return np.asarray(first + seconds, dtype="datetime64[ns]")
        clock = _clock(np.asarray(first))
        days: npt.NDArray[Any]
        if self.alias == "B":
            days = np.busday_offset(first.astype("datetime64[D]"), positions)
        else:
            months = first.astype("datetime64[M]") + positions * MONTHS[self.alias]
            days = _day_of_month(months, self.alias)
        _refuse_overflow(days)
        return np.asarray(days.astype("datetime64[ns]") + clock, dtype="datetime64[ns]")

    def _month_positions(
        self, days: npt.NDArray[Any], first_days: npt.NDArray[Any], same_clock: npt.NDArray[np.bool_]
    ) -> tuple[Positions, npt.NDArray[np.bool_]]:
        width = MONTHS[self.alias]
        months = days.astype("datetime64[M]")
        apart = (months - first_days.astype("datetime64[M]")).astype(np.int64)
        on_day = days == _day_of_month(months, self.alias)
        return apart // width, same_clock & on_day & (apart % width == 0)


def infer(times: Times) -> str | None:
    """Infer the frequency of one series from its sorted, distinct timestamps.

    The median distance decides, so that holidays and single missing steps do not. Daily data without a single
    Saturday or Sunday is `B` once it spans a weekend.

    Returns
    -------
    str or None
        An alias out of `CHOICES`, or None when no frequency fits or there are fewer than two timestamps.
    """
    if len(times) < 2:
        return None
    step = float(np.median(np.diff(times).astype("timedelta64[s]").astype(np.int64)))
    days = times.astype("datetime64[D]")
    if step == DAY or (0 < step < 4 * DAY and step % DAY == 0 and bool(np.is_busday(days).all())):
        return _daily(days)
    for alias, seconds in FIXED_SECONDS.items():
        if step == seconds:
            return alias
    return _calendar(days, step / DAY)


def _daily(days: npt.NDArray[Any]) -> str:
    spans_weekend = int((days[-1] - days[0]).astype(int)) >= 7
    return "B" if spans_weekend and bool(np.is_busday(days).all()) else "D"


def _calendar(days: npt.NDArray[Any], step_days: float) -> str | None:
    for low, high, start, end in ((28, 31, "MS", "ME"), (89, 92, "QS", "QE"), (365, 366, "YS", "YE")):
        if low <= step_days <= high:
            for alias in (start, end):
                if bool((days == _day_of_month(days.astype("datetime64[M]"), alias)).all()):
                    return alias
    return None


def _day_of_month(months: npt.NDArray[Any], alias: str) -> npt.NDArray[Any]:
    if alias.endswith("S"):
        return months.astype("datetime64[D]")
    return (months + 1).astype("datetime64[D]") - 1


def _refuse_overflow(times: npt.NDArray[Any]) -> None:
    if times.size and times.max().astype("datetime64[D]") > LAST_DAY:
        raise OverflowError(f"{times.max()} is later than {LAST_DAY}, the last day a timestamp can be on")


def _clock(times: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(times - times.astype("datetime64[D]").astype("datetime64[ns]"))
