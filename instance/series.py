"""Turn long-format rows into regular series that models can take. Runs on the instance, in the worker."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.reasons import DatasetInvalid
from instance.frequency import CHOICES, Frequency, Positions, Times, infer

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MAX_MISSING_SHARE = 0.10
MAX_NAN_SHARE = 0.50
MIN_HISTORY = 5
NAMES_IN_NOTE = 5


@dataclass(frozen=True)
class SeriesSet:
    """Regular series, each of its own length, with one frequency.

    Parameters
    ----------
    ids : list of str
        Names, sorted.
    values : list of float64 arrays
        One value a step, no NaN: a gap holds the last value before it.
    observed : list of bool arrays
        False where `values` was filled.
    first : list of datetime64[ns]
        Timestamp of each series' first value.
    """

    ids: list[str]
    values: list[Values]
    observed: list[Mask]
    first: list[np.datetime64]
    frequency: Frequency
    season_length: int
    prediction_length: int
    rows: int
    notes: list[str]

    def times(self, series: int, start: int, stop: int) -> Times:
        """Return the timestamps of steps `start` to `stop` of a series; may reach beyond its end."""
        return self.frequency.times(self.first[series], np.arange(start, stop))


def build_series(frame: Any, request: dict[str, Any], notes: list[str]) -> SeriesSet:
    """Check that rows are regular and fill what is missing.

    What is done, each with a count in the notes:

    - A missing timestamp (a holiday in business-day data, a lost reading elsewhere) and an interior or trailing NaN
      take the last value before them. Linear interpolation would be closer, but it looks at the value after the gap,
      so a backtest whose cutoff lies in a gap would see the future. Filled steps are not scored.
    - Leading NaNs are dropped. A series without any number, or with more than half of its values NaN, is left out.
    - A series shorter than the backtest windows and `MIN_HISTORY` steps before them is left out.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `read_dataset` returns it.
    request : dict
        A run request with its defaults: freq, season_length, prediction_length, n_windows.
    notes : list of str
        Notes so far; the result's notes begin with them.

    Raises
    ------
    DatasetInvalid
        No frequency fits, series of different frequencies, timestamps off the grid, more than 10 % of the timestamps
        missing, or no series left.
    """
    groups = _split(frame)
    frequency = Frequency(request["freq"] or _common_frequency(groups))
    horizon = request["prediction_length"] or frequency.prediction_length
    shortest = request["n_windows"] * horizon + MIN_HISTORY
    keeper = _Keeper(frequency, horizon, shortest)
    for name, times, y in groups:
        keeper.add(name, times, y)
    if not keeper.ids:
        raise DatasetInvalid(
            f"expected at least one series with {shortest} observations ({request['n_windows']} windows of {horizon} "
            f"steps and {MIN_HISTORY} before them), found none among {len(groups)} series: {' '.join(keeper.notes())} "
            "Lower n_windows or prediction_length, or upload longer series."
        )
    return SeriesSet(
        ids=keeper.ids,
        values=keeper.values,
        observed=keeper.observed,
        first=keeper.first,
        frequency=frequency,
        season_length=request["season_length"] or frequency.season_length,
        prediction_length=horizon,
        rows=sum(int(mask.sum()) for mask in keeper.observed),
        notes=[*notes, *keeper.notes()],
    )


def _split(frame: Any) -> list[tuple[str, Times, Values]]:
    ids = frame["unique_id"].to_numpy(dtype=object)
    times, y = frame["ds"].to_numpy(dtype="datetime64[ns]"), frame["y"].to_numpy(dtype=np.float64)
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    stops = np.append(starts[1:], len(ids))
    return [(str(ids[a]), times[a:b], y[a:b]) for a, b in zip(starts, stops, strict=True)]


def _common_frequency(groups: list[tuple[str, Times, Values]]) -> str:
    long_enough = [group for group in groups if len(group[1]) > 2] or groups
    found = {name: (infer(times), times) for name, times, _ in long_enough}
    counts = Counter(alias for alias, _ in found.values())
    usual = max(counts, key=lambda alias: (counts[alias], alias is not None, alias or ""))
    if usual is None:
        name = next(iter(found))
        raise DatasetInvalid(
            f"series {name}: expected timestamps of one frequency ({', '.join(CHOICES)}), found irregular ones or too "
            "few. Set freq in the request, or resample the data."
        )
    for name, (alias, times) in found.items():
        # Fewer than eight days without a weekend look daily; among business-day series they are business days.
        within_week = (alias, usual) == ("D", "B") and bool(np.is_busday(times.astype("datetime64[D]")).all())
        if alias != usual and not within_week:
            raise DatasetInvalid(
                f"series {name}: expected the frequency {usual} of the other series, found {alias or 'none'}. "
                "Put series of another frequency into a data set of their own."
            )
    return usual


class _Keeper:
    """Collects the series that are kept and counts what was done to them."""

    def __init__(self, frequency: Frequency, horizon: int, shortest: int) -> None:
        self.frequency = frequency
        self.horizon = horizon
        self.shortest = shortest
        self.ids: list[str] = []
        self.values: list[Values] = []
        self.observed: list[Mask] = []
        self.first: list[np.datetime64] = []
        self.counts: Counter[str] = Counter()
        self.filled_in: Counter[str] = Counter()
        self.left_out: dict[str, list[str]] = {}

    def add(self, name: str, times: Times, y: Values) -> None:
        numbers = np.flatnonzero(~np.isnan(y))
        if not len(numbers):
            return self._leave_out("without any number", name)
        start = int(numbers[0])
        self._count("leading values without a number dropped", start)
        times, y = times[start:], y[start:]
        if np.isnan(y).mean() > MAX_NAN_SHARE:
            return self._leave_out("with more than half of the values missing", name)
        positions = self._on_grid(name, times)
        if positions[-1] + 1 < self.shortest:
            return self._leave_out(f"shorter than {self.shortest} steps", name)
        grid = self._without_holes(name, positions, y)
        self._refuse_far_future(name, times[0], len(grid))
        self._count("values without a number filled with the value before", int(np.isnan(y).sum()))
        gap = "holidays" if self.frequency.alias == "B" else "missing timestamps"
        self._count(f"{gap} filled with the value before", len(grid) - len(y))
        return self._keep(name, times[0], grid)

    def notes(self) -> list[str]:
        done = [
            f"{count} {what}, in {self.filled_in[what]} of {len(self.ids)} series."
            for what, count in self.counts.items()
        ]
        left = [
            f"{len(names)} series {why} left out: {', '.join(names[:NAMES_IN_NOTE])}"
            + (f" and {len(names) - NAMES_IN_NOTE} more." if len(names) > NAMES_IN_NOTE else ".")
            for why, names in self.left_out.items()
        ]
        return done + left

    def _on_grid(self, name: str, times: Times) -> Positions:
        positions, aligned = self.frequency.positions(times, np.full(len(times), times[0]))
        if not aligned.all():
            at = times[int(np.argmin(aligned))]
            raise DatasetInvalid(
                f"series {name}: expected steps of {self.frequency.alias} from {times[0]}, found {at}, which is not "
                "one. Correct the timestamp, or set freq in the request."
            )
        return positions

    def _without_holes(self, name: str, positions: Positions, y: Values) -> Values:
        length = int(positions[-1]) + 1
        if length - len(y) > MAX_MISSING_SHARE * length:
            raise DatasetInvalid(
                f"series {name}: expected at most {MAX_MISSING_SHARE:.0%} missing timestamps at frequency "
                f"{self.frequency.alias}, found {length - len(y)} of {length}. "
                "Fill them, or set the frequency of the data as freq in the request."
            )
        grid = np.full(length, np.nan)
        grid[positions] = y
        return grid

    def _refuse_far_future(self, name: str, first: np.datetime64, length: int) -> None:
        try:
            self.frequency.times(first, np.array([length + self.horizon]))
        except OverflowError as error:
            raise DatasetInvalid(
                f"series {name}: expected a forecast that ends before the year 2262, found {error}. "
                "Lower prediction_length or correct the timestamps."
            ) from error

    def _keep(self, name: str, first: np.datetime64, grid: Values) -> None:
        observed = ~np.isnan(grid)
        source = np.maximum.accumulate(np.where(observed, np.arange(len(grid)), 0))
        self.ids.append(name)
        self.values.append(grid[source])
        self.observed.append(observed)
        self.first.append(first)

    def _count(self, what: str, count: int) -> None:
        if count:
            self.counts[what] += count
            self.filled_in[what] += 1

    def _leave_out(self, why: str, name: str) -> None:
        self.left_out.setdefault(why, []).append(name)
