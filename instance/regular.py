"""Put sorted rows on the grid of their frequency, many series at once. Pure. Runs in the worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from instance.frequency import FIXED_SECONDS, Frequency, Positions
from instance.sorted_rows import Rows

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MAX_NAN_SHARE = 0.50


@dataclass(frozen=True)
class Wanted:
    """What series must be like.

    Parameters
    ----------
    frequency : Frequency
        Of their grid.
    inferred : bool
        Whether the frequency is what most series have, not what the request names.
    horizon : int
        Steps to forecast.
    shortest : int
        Fewest steps of a series.
    past, known : tuple of str
        Names of the covariates, in the order of the rows' columns: past first.
    """

    frequency: Frequency
    inferred: bool
    horizon: int
    shortest: int
    past: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


@dataclass
class Grid:
    """Where the rows of some series lie on their grids; nothing is copied yet.

    A series begins with its first number of y that has a value of every covariate at or before it. It ends with the
    last row, or with its last number where covariates are known in advance: rows after that one are the future.

    Parameters
    ----------
    rows : Rows
        Without repeated timestamps.
    wanted : Wanted
    """

    rows: Rows
    wanted: Wanted

    @cached_property
    def row(self) -> Integers:
        """Index of each row, shape (rows,)."""
        return np.arange(len(self.rows.times))

    @cached_property
    def series(self) -> Integers:
        """Index of the series of each row, shape (rows,)."""
        return np.repeat(np.arange(len(self.rows.starts) - 1), np.diff(self.rows.starts))

    @cached_property
    def finite(self) -> Mask:
        """Where y is a number, shape (rows,)."""
        return ~np.isnan(self.rows.y)

    @cached_property
    def complete(self) -> bool:
        """Whether every y is a number."""
        return bool(self.finite.all())

    @cached_property
    def has_number(self) -> Mask:
        """Series with any number, shape (n_series,)."""
        return self.count(self.finite, self.rows.starts[:-1], self.rows.starts[1:]) > 0

    @cached_property
    def usable(self) -> Mask:
        """Series with a number at which every covariate has begun, shape (n_series,)."""
        return self._first < self.rows.starts[1:]

    @cached_property
    def first(self) -> Integers:
        """Row of each series' first value, shape (n_series,); its first row where it has none."""
        return np.where(self.usable, self._first, self.rows.starts[:-1])

    @cached_property
    def stop(self) -> Integers:
        """Row after each series' last value, shape (n_series,)."""
        if self.complete or not self.wanted.known:
            return self.rows.starts[1:]
        last = np.maximum.reduceat(np.where(self.finite, self.row, -1), self.rows.starts[:-1])
        return np.maximum(last, self.first) + 1

    @cached_property
    def missing(self) -> Integers:
        """Rows between first and stop without a number, shape (n_series,)."""
        if self.complete:
            return np.zeros(len(self.first), dtype=np.int64)
        return self.stop - self.first - self.count(self.finite, self.first, self.stop)

    @cached_property
    def mostly_missing(self) -> Mask:
        """Series that lack more than `MAX_NAN_SHARE` of their numbers, shape (n_series,)."""
        return self.missing > MAX_NAN_SHARE * (self.stop - self.first)

    @cached_property
    def length(self) -> Integers:
        """Steps from the first to the last value, shape (n_series,)."""
        return np.asarray(self.position[self.stop - 1] + 1)

    @cached_property
    def position(self) -> Positions:
        """Steps from the first value of the series to each row, shape (rows,)."""
        return self._placed[0]

    @cached_property
    def off_grid(self) -> Mask:
        """Series with a timestamp from their first value on that is not on the grid, shape (n_series,)."""
        aligned = self._placed[1]
        if aligned is None:
            return np.zeros(len(self.first), dtype=bool)
        size = self.rows.starts[1:] - self.first
        return self.count(aligned, self.first, self.rows.starts[1:]) < size

    @cached_property
    def _first(self) -> Integers:
        starts = self.rows.starts[:-1]
        if self.complete and not self.rows.covariates:
            return starts
        begun = starts
        for column in self.rows.covariates:
            begun = np.maximum(begun, self._first_true(~np.isnan(column)))
        return self._first_true(self.finite & (self.row >= begun[self.series]))

    def _first_true(self, mask: Mask) -> Integers:
        """Return the first true row of each series, or a row beyond all."""
        return np.minimum.reduceat(np.where(mask, self.row, len(self.row)), self.rows.starts[:-1])

    @cached_property
    def _placed(self) -> tuple[Positions, Mask | None]:
        first = np.repeat(self.first, np.diff(self.rows.starts))
        seconds = FIXED_SECONDS.get(self.wanted.frequency.alias)
        if seconds and self._evenly_spaced(seconds * 1_000_000_000):
            return self.row - first, None
        times = self.rows.times.view("datetime64[ns]")
        return self.wanted.frequency.positions(times, times[first])

    def _evenly_spaced(self, step: int) -> bool:
        apart = self.rows.times[1:] - self.rows.times[:-1] == step
        apart[self.rows.starts[1:-1] - 1] = True
        return bool(apart.all())

    def count(self, mask: Mask, start: Integers, stop: Integers) -> Integers:
        """Count true rows from `start` to `stop` (not included), each of shape (n_series,)."""
        before = np.concatenate([[0], np.cumsum(mask)])
        return np.asarray(before[stop] - before[start])


@dataclass(frozen=True)
class Regular:
    """Regular series end to end.

    Parameters
    ----------
    series : int64 array, shape (n_kept,)
        Index of each among the series of the rows.
    lengths : int64 array, shape (n_kept,)
        Steps.
    first : int64 array, shape (n_kept,)
        Timestamps of the first values, nanoseconds since 1970.
    last : int64 array, shape (n_kept,)
        Timestamps of the last values.
    values : float64 array, shape (sum(lengths),)
        No NaN.
    observed : bool array, shape (sum(lengths),)
    past : float64 array, shape (sum(lengths), n_past)
    known : float64 array, shape (sum(lengths), n_known)
    ahead : float64 array, shape (n_kept, horizon, n_known)
        Values of the known covariates beyond the last value.
    """

    series: Integers
    lengths: Integers
    first: Integers
    last: Integers
    values: Floats
    observed: Mask
    past: Floats
    known: Floats
    ahead: Floats


def regular(grid: Grid, kept: Mask) -> Regular:
    """Fill the grid of the series that are kept: a step without a value takes the one before it.

    Parameters
    ----------
    grid : Grid
    kept : bool array, shape (n_series,)
        Series that are usable, on the grid, and reach as far as they must.
    """
    series = np.flatnonzero(kept)
    lengths = grid.length[series]
    values, observed = _values(grid, kept, lengths)
    columns = [_forward_filled(column, grid.rows.starts[:-1]) for column in grid.rows.covariates]
    n_past, horizon = len(grid.wanted.past), grid.wanted.horizon
    past = [_on_grid(grid, column, kept, lengths) for column in columns[:n_past]]
    both = [_on_grid(grid, column, kept, lengths + horizon) for column in columns[n_past:]]
    beyond = np.cumsum(lengths + horizon)[:, np.newaxis] + np.arange(-horizon, 0)
    return Regular(
        series=series,
        lengths=lengths,
        first=grid.rows.times[grid.first[series]],
        last=grid.rows.times[grid.stop[series] - 1],
        values=values,
        observed=observed,
        past=_side_by_side(past, (len(values),)),
        known=_side_by_side([np.delete(column, beyond) for column in both], (len(values),)),
        ahead=_side_by_side([column[beyond] for column in both], beyond.shape),
    )


def _values(grid: Grid, kept: Mask, lengths: Integers) -> tuple[Floats, Mask]:
    y = grid.rows.y
    begins = bool((grid.first == grid.rows.starts[:-1]).all())
    if grid.complete and begins and kept.all() and len(y) == lengths.sum():
        return y, np.ones(len(y), dtype=bool)
    inside = (grid.row >= grid.first[grid.series]) & (grid.row < grid.stop[grid.series])
    placed = _placed(grid, y, kept, lengths, inside)
    observed = ~np.isnan(placed)
    return (placed if observed.all() else placed[_last_true(observed)]), observed


def _on_grid(grid: Grid, column: Floats, kept: Mask, lengths: Integers) -> Floats:
    every_row = np.ones(len(column), dtype=bool)
    placed = _placed(grid, column, kept, lengths, every_row)
    return placed[_last_true(~np.isnan(placed))]


def _side_by_side(columns: list[Floats], shape: tuple[int, ...]) -> Floats:
    return np.stack(columns, axis=-1) if columns else np.empty((*shape, 0))


def _placed(grid: Grid, column: Floats, kept: Mask, lengths: Integers, inside: Mask) -> Floats:
    """Put the rows of the kept series where they belong, end to end, NaN between."""
    offset, room = np.zeros(len(kept), dtype=np.int64), np.zeros(len(kept), dtype=np.int64)
    offset[kept], room[kept] = np.cumsum(lengths) - lengths, lengths
    inside = inside & (grid.position >= 0) & (grid.position < room[grid.series])
    placed = np.full(int(lengths.sum()), np.nan)
    placed[offset[grid.series[inside]] + grid.position[inside]] = column[inside]
    return placed


def _forward_filled(column: Floats, starts: Sequence[int] | Integers) -> Floats:
    """Fill NaN with the value before, but not beyond the beginning of a series."""
    known = ~np.isnan(column)
    if known.all():
        return column
    known[np.asarray(starts)] = True
    return column[_last_true(known)]


def _last_true(mask: Mask) -> Integers:
    """Return for each place the last true place up to it; the first must be true."""
    return np.maximum.accumulate(np.where(mask, np.arange(len(mask)), 0))
