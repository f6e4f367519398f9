"""Decide which series a run can use, refuse what is wrong, and count what was done. Pure. Runs in the worker."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from contracts.reasons import DatasetInvalid
from instance.frequency import LAST_DAY, infer
from instance.frequency_vote import refuse_other_frequency
from instance.regular import Grid, Integers, Mask, Regular

MAX_MISSING_SHARE = 0.10
MIN_HISTORY = 5
NAMES_IN_NOTE = 5
# A step is at most a year: before this many nanoseconds a horizon ends in range, whatever the frequency.
NANOSECONDS_PER_DAY = 86_400_000_000_000
LONGEST_STEP_DAYS = 366

NAME = Callable[[int], str]


DONE = {
    "leading_values_dropped": "leading values without a number dropped",
    "values_filled": "values without a number filled with the value before",
    "gaps_filled": "missing timestamps filled with the value before",
    "covariate_values_filled": "missing values of covariates filled with the value before",
}
LEFT_OUT = {
    "series_left_out_empty": "without any number",
    "series_left_out_covariates": "without a number after the first value of every covariate",
    "series_left_out_missing": "with more than half of the values missing",
    "series_left_out_short": "shorter than {shortest} steps",
}
COUNTED: tuple[str, ...] = ("series", "constant_series", *LEFT_OUT, *DONE, *(f"series_with_{what}" for what in DONE))


@dataclass
class Tally:
    """What was done to the series of a data set, over all of its partitions.

    Parameters
    ----------
    counts : dict
        How often, by the names of model_metadata.json; documented in docs/datasets.md.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    _left_out: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, per_series: Integers) -> None:
        """Add counts, one a series that is kept."""
        self.counts[what] += int(per_series.sum())
        self.counts[f"series_with_{what}"] += int(np.count_nonzero(per_series))

    def leave_out(self, why: str, which: Mask, name: NAME) -> None:
        """Count series that are left out, and keep the names of the first ones."""
        for index in np.flatnonzero(which)[: NAMES_IN_NOTE - len(self._left_out.get(why, []))]:
            self._left_out.setdefault(why, []).append(name(int(index)))
        self.counts[why] += int(np.count_nonzero(which))

    def notes(self, shortest: int, gap: str) -> list[str]:
        """Say what was done, with counts; `gap` is the word for a missing timestamp."""
        sentences = {**DONE, "gaps_filled": f"{gap} filled with the value before"}
        kept = self.counts["series"]
        done = [
            f"{self.counts[what]} {sentence}, in {self.counts[f'series_with_{what}']} of {kept} series."
            for what, sentence in sentences.items()
            if self.counts[what]
        ]
        return done + [
            f"{self.counts[why]} series {reason.format(shortest=shortest)} left out: {self._names(why)}"
            for why, reason in LEFT_OUT.items()
            if self.counts[why]
        ]

    def _names(self, why: str) -> str:
        names, more = ", ".join(self._left_out[why]), self.counts[why] - len(self._left_out[why])
        return f"{names} and {more} more." if more else f"{names}."


def admit(grid: Grid, name: NAME, tally: Tally) -> Mask:
    """Return which series are kept.

    Parameters
    ----------
    grid : Grid
    name : callable
        Name of the series of an index.
    tally : Tally
        Told what is left out.

    Raises
    ------
    DatasetInvalid
        For the first series with a timestamp off the grid, more than 10 % of the timestamps missing, a forecast that
        would end beyond the year 2262, or covariates known for too few steps ahead.
    """
    judged = grid.usable & ~grid.mostly_missing
    short = judged & ~grid.off_grid & (grid.length < grid.wanted.shortest)
    kept = judged & ~short
    wrong = kept & (grid.off_grid | _holed(grid) | _far(grid) | _unknown_ahead(grid).any(axis=0))
    if wrong.any():
        index = int(np.argmax(wrong))
        _refuse(grid, index, name(index))
    tally.leave_out("series_left_out_empty", ~grid.has_number, name)
    tally.leave_out("series_left_out_covariates", grid.has_number & ~grid.usable, name)
    tally.leave_out("series_left_out_missing", grid.usable & grid.mostly_missing, name)
    tally.leave_out("series_left_out_short", short, name)
    return kept


def count_kept(grid: Grid, kept: Mask, made: Regular, tally: Tally) -> None:
    """Count what was done to the series that are kept."""
    first, stop = grid.first[kept], grid.stop[kept]
    tally.counts["series"] += len(made.series)
    tally.add("leading_values_dropped", first - grid.rows.starts[:-1][kept])
    tally.add("values_filled", grid.missing[kept])
    tally.add("gaps_filled", grid.length[kept] - (stop - first))
    n_past = len(grid.wanted.past)
    filled = np.zeros(len(made.series), dtype=np.int64)
    for column in grid.rows.covariates[:n_past]:
        filled += grid.count(np.isnan(column), first, stop)
    for column in grid.rows.covariates[n_past:]:
        filled += grid.count(np.isnan(column), first, grid.rows.starts[1:][kept])
    tally.add("covariate_values_filled", filled)
    if len(made.series):
        begins = np.cumsum(made.lengths) - made.lengths
        flat = np.minimum.reduceat(made.values, begins) == np.maximum.reduceat(made.values, begins)
        tally.counts["constant_series"] += int(np.count_nonzero(flat))


def _holed(grid: Grid) -> Mask:
    return np.asarray(grid.length - (grid.stop - grid.first) > MAX_MISSING_SHARE * grid.length)


def _far(grid: Grid) -> Mask:
    """Whether the forecast of a series could end beyond what timestamps hold; `_refuse` looks closely."""
    last_days = grid.rows.times[grid.stop - 1] // NANOSECONDS_PER_DAY
    ahead = (grid.wanted.horizon + 1) * LONGEST_STEP_DAYS
    suspects = np.flatnonzero(last_days + ahead > LAST_DAY.astype(np.int64))
    far = np.zeros(len(last_days), dtype=bool)
    far[suspects] = [_overflow(grid, int(index)) is not None for index in suspects]
    return far


def _overflow(grid: Grid, index: int) -> OverflowError | None:
    first = grid.rows.times.view("datetime64[ns]")[grid.first[index]]
    try:
        grid.wanted.frequency.times(first, np.array([grid.length[index] + grid.wanted.horizon]))
    except OverflowError as error:
        return error
    return None


def _unknown_ahead(grid: Grid) -> npt.NDArray[np.bool_]:
    """Whether each covariate known in advance ends before the horizon, shape (n_known, n_series)."""
    known = grid.rows.covariates[len(grid.wanted.past) :]
    return np.array([_steps_ahead(grid, column) < grid.wanted.horizon for column in known], dtype=bool).reshape(
        len(known), len(grid.first)
    )


def _steps_ahead(grid: Grid, column: npt.NDArray[np.float64]) -> Integers:
    """Return how many steps after the last value a covariate's last value is."""
    last = np.maximum.reduceat(np.where(np.isnan(column), -1, grid.row), grid.rows.starts[:-1])
    return np.asarray(grid.position[np.maximum(last, grid.stop - 1)] + 1 - grid.length)


def _refuse(grid: Grid, index: int, name: str) -> None:
    times = grid.rows.times[grid.first[index] : grid.rows.starts[index + 1]].view("datetime64[ns]")
    alias, wanted = grid.wanted.frequency.alias, grid.wanted
    size, length = int(grid.stop[index] - grid.first[index]), int(grid.length[index])
    if wanted.inferred and (grid.off_grid[index] or _holed(grid)[index]):
        every = grid.rows.times[grid.rows.starts[index] : grid.rows.starts[index + 1]].view("datetime64[ns]")
        refuse_other_frequency(name, infer(every), every, alias)
    if grid.off_grid[index]:
        at = times[int(np.argmin(wanted.frequency.positions(times, np.full(len(times), times[0]))[1]))]
        raise DatasetInvalid(
            f"series {name}: expected steps of {alias} from {times[0]}, found {at}, which is not one. "
            "Correct the timestamp, or set freq in the request."
        )
    if _holed(grid)[index]:
        raise DatasetInvalid(
            f"series {name}: expected at most {MAX_MISSING_SHARE:.0%} missing timestamps at frequency {alias}, found "
            f"{length - size} of {length}. Fill them, or set the frequency of the data as freq in the request."
        )
    overflow = _overflow(grid, index)
    if overflow is not None:
        raise DatasetInvalid(
            f"series {name}: expected a forecast that ends before the year 2262, found {overflow}. "
            "Lower prediction_length or correct the timestamps."
        ) from overflow
    _refuse_unknown_ahead(grid, index, name)


def _refuse_unknown_ahead(grid: Grid, index: int, name: str) -> None:
    at = int(np.argmax(_unknown_ahead(grid)[:, index]))
    column = grid.wanted.known[at]
    found = int(_steps_ahead(grid, grid.rows.covariates[len(grid.wanted.past) + at])[index])
    raise DatasetInvalid(
        f"series {name}: expected values of the known covariate {column} for {grid.wanted.horizon} steps after the "
        f"last y, found {found}. Add rows with the timestamps to forecast, an empty y and {column}, lower "
        "prediction_length, or move the column to past_covariates."
    )
