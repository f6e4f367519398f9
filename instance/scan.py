"""Read the rows of a data set once, check each of them, and put them on disk. Runs on the instance, in the worker."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from contracts.reasons import DatasetInvalid
from instance.columns import Clock, Faults, Names, numbers
from instance.dataset import DataFile, open_table
from instance.sorted_rows import Rows, SortedRows, sorted_rows
from instance.spool import Spool

OnRows = Callable[[int], None]


class Scan:
    """The rows of some files, and what was noticed while they were read.

    Parameters
    ----------
    files : sequence of DataFile
        Read in the order of their names.
    covariates : list of str
        Columns to read beside unique_id, ds and y.
    folder : Path
        For scratch files.
    """

    def __init__(self, files: Sequence[DataFile], covariates: list[str], folder: Path) -> None:
        self.files = sorted(files, key=lambda file: file.name)
        self.covariates = covariates
        self.spool = Spool(folder, len(covariates))
        self.names: list[str] = []
        self.notes: list[str] = []
        self._codes = Names()
        self._rows_of_files: list[int] = []

    def read(self, on_rows: OnRows, batch_rows: int) -> None:
        """Read every file.

        Raises
        ------
        DatasetInvalid
            For the first wrong row of a file, or when there is no row at all.
        """
        for file in self.files:
            before = self.spool.mark()
            clock = Clock(as_written=True)
            read = self._read_file(file, clock, on_rows, batch_rows)
            if clock.changed_its_mind:
                self.spool.rewind(before)
                clock = Clock(as_written=False)
                self._read_file(file, clock, _from(read, on_rows), batch_rows)
            self.notes += [f"{file.name}: {sentence}" for sentence in clock.notes()]
            self._rows_of_files.append(self.spool.rows - before.rows)
        if not self.spool.rows:
            raise DatasetInvalid(
                f"{self.files[0].name}: expected at least one row, found none. Upload a file with data."
            )

    def sorted(self) -> SortedRows:
        """Return the rows by series, in the order of the sorted names."""
        counts = self.spool.counts(len(self._codes.codes))
        # A Parquet dictionary may hold names that no row has.
        used = sorted(name for name, code in self._codes.codes.items() if counts[code])
        codes = np.array([self._codes.codes[name] for name in used], dtype=np.int64)
        ranks = np.zeros(len(counts), dtype=np.int32)
        ranks[codes] = np.arange(len(codes))
        self.names = used
        return sorted_rows(self.spool, ranks, counts[codes])

    def refuse_duplicates(self, rows: SortedRows) -> None:
        """Raise DatasetInvalid when a series has a timestamp twice, naming the first and counting all."""
        found, first = 0, ""
        for low, high in rows.partitions():
            part = rows.read(low, high)
            again = part.repeats
            found += int(np.count_nonzero(again))
            first = first or (self._twice(part, int(np.argmax(again)), low) if again.any() else "")
        if found:
            raise DatasetInvalid(f"{first} ({found} such rows). Remove one of them.")

    def _read_file(self, file: DataFile, clock: Clock, on_rows: OnRows, batch_rows: int) -> int:
        """Read until the end, or until the clock was wrong; returns how many rows were read."""
        table, faults = open_table(file, self.covariates, batch_rows), Faults(file.name)
        for batch in table.batches:
            self._append(batch, clock, faults)
            faults.rows += len(batch)
            on_rows(len(batch))
            if clock.changed_its_mind:
                return faults.rows
        faults.refuse()
        self._note_ignored(file, table.ignored)
        return faults.rows

    def _append(self, batch: Any, clock: Clock, faults: Faults) -> None:
        if not len(batch):
            return
        codes, lengths = self._codes.runs(batch.column("unique_id"), faults)
        times = clock.read(batch.column("ds"), faults)
        values = [numbers(name, batch.column(name), faults) for name in ("y", *self.covariates)]
        # Rows of a faulty file are counted and not kept: their codes and times are no good.
        if not faults.any:
            self.spool.append(codes, lengths, [times, *values])

    def _note_ignored(self, file: DataFile, ignored: list[str]) -> None:
        if ignored:
            self.notes.append(f"{file.name}: {len(ignored)} other columns ignored ({', '.join(ignored)[:100]}).")

    def _twice(self, rows: Rows, at: int, low: int) -> str:
        series = low + int(np.searchsorted(rows.starts, at, side="right")) - 1
        when = rows.times[at : at + 1].view("datetime64[ns]")[0].astype("datetime64[s]").item()
        first, again = (self._file_and_row(rows, place) for place in (at - 1, at))
        return (
            f"{again[0]}: column ds, row {again[1]}: expected one value per series and timestamp, found "
            f"{self.names[series]} at {when} twice, first in {first[0]}, row {first[1]}"
        )

    def _file_and_row(self, rows: Rows, at: int) -> tuple[str, int]:
        place = rows.first_place + at if rows.places is None else int(rows.places[at])
        ends = list(accumulate(self._rows_of_files))
        index = bisect_right(ends, place)
        return self.files[index].name, place - (ends[index - 1] if index else 0) + 1


def _from(told: int, on_rows: OnRows) -> OnRows:
    """Return a callback that keeps quiet about the first `told` rows."""
    seen = 0

    def tell(rows: int) -> None:
        nonlocal seen
        before, seen = seen, seen + rows
        if seen > told:
            on_rows(seen - max(before, told))

    return tell
