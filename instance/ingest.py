"""Turn the files of a data set into a store of regular series, in bounded memory. Runs in the worker."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contracts.reasons import DatasetInvalid
from instance.admission import MIN_HISTORY, Tally, admit, count_kept
from instance.dataset import BATCH_ROWS, DataFile
from instance.frequency import Frequency, Times
from instance.frequency_vote import common_frequency
from instance.regular import Grid, Wanted, regular
from instance.scan import OnRows, Scan
from instance.series_store import SeriesStore, StoreInfo, StoreWriter
from instance.sorted_rows import Rows, SortedRows

VOTERS = 256


def ingest(
    files: Sequence[DataFile], request: dict[str, Any], folder: Path, on_rows: OnRows, batch_rows: int = BATCH_ROWS
) -> SeriesStore:
    """Read a data set and write it as regular series.

    What is done, each with a count in the notes:

    - Rows are sorted by unique_id and ds.
    - A missing timestamp (a holiday in business-day data, a lost reading elsewhere) and an interior or trailing NaN
      take the last value before them. Linear interpolation would be closer, but it looks at the value after the gap,
      so a backtest whose cutoff lies in a gap would see the future. Filled steps are not scored.
    - Leading NaNs are dropped. A series without any number, or with more than half of its values NaN, is left out.
    - A series shorter than the backtest windows and `MIN_HISTORY` steps before them is left out.
    - A missing value of a covariate takes the one before it, and a series begins where every covariate has begun.

    Parameters
    ----------
    files : sequence of DataFile
        CSV or Parquet files with the columns unique_id, ds, y and the covariates. Other columns are ignored.
    request : dict
        A run request with its defaults: freq, season_length, prediction_length, n_windows, past_covariates,
        known_covariates.
    folder : Path
        Where the store is written; needs about 40 bytes a row and 16 a row and covariate.
    on_rows : callable
        Called with the number of rows read since its last call.
    batch_rows : int
        Rows to hold at once.

    Raises
    ------
    DatasetInvalid
        Naming file, column and row: a missing column, no rows, an empty unique_id, an unreadable ds, a number that is
        none or is infinite, a (unique_id, ds) that occurs twice. Naming the series: no frequency fits, another
        frequency than most, timestamps off the grid, more than 10 % of the timestamps missing, covariates not known far
        enough ahead. Or no series is left.
    """
    scan = Scan(files, [*request["past_covariates"], *request["known_covariates"]], folder / "spool")
    try:
        scan.read(on_rows, batch_rows)
        rows = scan.sorted()
        try:
            _Building(scan, rows, request).write(folder)
        except DatasetInvalid:
            # A timestamp that occurs twice can look like another fault, and comes first wherever it is.
            scan.refuse_duplicates(rows)
            raise
        finally:
            rows.close()
    finally:
        scan.spool.close()
    return SeriesStore(folder)


class _Building:
    """Builds regular series partition by partition.

    Parameters
    ----------
    scan : Scan
        Read to the end.
    rows : SortedRows
        Its rows.
    request : dict
        With its defaults.
    """

    def __init__(self, scan: Scan, rows: SortedRows, request: dict[str, Any]) -> None:
        self.scan, self.rows, self.request = scan, rows, request
        self.tally = Tally()
        self.observed = self.moved = 0
        self.first: list[int] = []
        self.last: list[int] = []

    def write(self, folder: Path) -> None:
        """Write the store."""
        request = self.request
        frequency = Frequency(request["freq"] or common_frequency(self._voters()))
        horizon = request["prediction_length"] or frequency.prediction_length
        wanted = Wanted(
            frequency=frequency,
            inferred=request["freq"] is None,
            horizon=horizon,
            shortest=request["n_windows"] * horizon + MIN_HISTORY,
            past=tuple(request["past_covariates"]),
            known=tuple(request["known_covariates"]),
        )
        with StoreWriter(folder) as writer:
            for low, high in self.rows.partitions():
                self._partition(self.rows.read(low, high), self.scan.names[low:high], wanted, writer)
            writer.finish(self._info(wanted))

    def _voters(self) -> list[tuple[str, Times]]:
        """Return timestamps of up to `VOTERS` series, spread evenly over the sorted names."""
        count = len(self.scan.names)
        chosen = np.unique(np.linspace(0, count - 1, min(count, VOTERS)).astype(np.int64)).tolist()
        # Repeated timestamps are refused later, for what they are.
        times = [np.unique(self.rows.read(i, i + 1).times).view("datetime64[ns]") for i in chosen]
        return [(self.scan.names[i], series) for i, series in zip(chosen, times, strict=True)]

    def _partition(self, rows: Rows, names: Sequence[str], wanted: Wanted, writer: StoreWriter) -> None:
        if rows.repeats.any():
            self.scan.refuse_duplicates(self.rows)
        self.moved += rows.moved
        grid = Grid(rows, wanted)
        kept = admit(grid, names.__getitem__, self.tally)
        if not kept.any():
            return
        made = regular(grid, kept)
        count_kept(grid, kept, made, self.tally)
        writer.append([names[index] for index in made.series.tolist()], made)
        self.observed += int(np.count_nonzero(made.observed))
        self.first.append(int(made.first.min()))
        self.last.append(int(made.last.max()))

    def _info(self, wanted: Wanted) -> StoreInfo:
        done = self.tally.notes(wanted.shortest, "holidays" if wanted.frequency.alias == "B" else "missing timestamps")
        if not self.tally.counts["series"]:
            self._refuse_without_series(wanted, done)
        return StoreInfo(
            frequency=wanted.frequency,
            season_length=self.request["season_length"] or wanted.frequency.season_length,
            prediction_length=wanted.horizon,
            n_series=self.tally.counts["series"],
            rows=self.observed,
            notes=[*self.scan.notes, *self._sorting_note(), *done],
            counts={**self.tally.counts, "rows_out_of_order": self.moved},
            first_ds=_second(min(self.first)),
            last_ds=_second(max(self.last)),
            past_names=list(wanted.past),
            known_names=list(wanted.known),
        )

    def _sorting_note(self) -> list[str]:
        rows = self.scan.spool.rows
        return [f"Sorted by unique_id and ds: {self.moved} of {rows} rows were out of order."] if self.moved else []

    def _refuse_without_series(self, wanted: Wanted, done: list[str]) -> None:
        raise DatasetInvalid(
            f"expected at least one series with {wanted.shortest} observations ({self.request['n_windows']} windows of "
            f"{wanted.horizon} steps and {MIN_HISTORY} before them), found none among {len(self.scan.names)} series: "
            f"{' '.join(done)} Lower n_windows or prediction_length, or upload longer series."
        )


def _second(nanoseconds: int) -> str:
    return str(np.datetime64(nanoseconds, "ns").astype("datetime64[s]"))
