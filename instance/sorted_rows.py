"""Give the rows of a spool back series by series, some hundred thousand at a time. Runs in the worker."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from instance.spool import Codes, Floats, Integers, Spool, write_array

PARTITION_ROWS = 1 << 18
MAX_PARTITIONS = 256
RUNS_PER_SERIES = 2


@dataclass(frozen=True)
class Rows:
    """Rows of neighbouring series, sorted by series and time; a timestamp may occur twice.

    Parameters
    ----------
    starts : int64 array, shape (n_series + 1,)
        Where each series begins, and the number of rows.
    times : int64 array, shape (rows,)
        Nanoseconds since 1970.
    y : float64 array, shape (rows,)
    covariates : list of float64 arrays, shape (rows,) each
    places : int64 array, shape (rows,)
        Number of each row in the order of the files, from 0; None when rows were in order from `first_place` on.
    first_place : int
        Where the first row belongs among the sorted rows of all series.
    """

    starts: Integers
    times: Integers
    y: Floats
    covariates: list[Floats]
    places: Integers | None
    first_place: int

    @property
    def repeats(self) -> npt.NDArray[np.bool_]:
        """True for each row that repeats the timestamp of the row before it in the same series, shape (rows,)."""
        again = np.zeros(len(self.times), dtype=bool)
        again[1:] = self.times[1:] == self.times[:-1]
        again[self.starts[:-1]] = False
        return again

    @property
    def moved(self) -> int:
        """How many rows are at another place than they were in the files."""
        if self.places is None:
            return 0
        return int(np.count_nonzero(self.places != self.first_place + np.arange(len(self.places))))


def sorted_rows(spool: Spool, ranks: Codes, counts: Integers) -> "SortedRows":
    """Sort the rows of a spool by series and time.

    Parameters
    ----------
    spool : Spool
        Written to the end.
    ranks : int32 array, shape (n_codes,)
        Rank of each code's name among the sorted names.
    counts : int64 array, shape (n_series,)
        Rows of each series, by rank; none is 0.
    """
    grouped = spool.runs <= RUNS_PER_SERIES * (len(counts) + len(spool.batches))
    return (GroupedRows if grouped else ShuffledRows)(spool, ranks, counts)


@dataclass
class SortedRows(ABC):
    """Rows of a spool, by series in the order of the sorted names."""

    spool: Spool
    ranks: Codes
    counts: Integers

    def __post_init__(self) -> None:
        self.offsets = np.concatenate([[0], np.cumsum(self.counts)])
        self.bounds = self._bounds(max(PARTITION_ROWS, -(-self.spool.rows // MAX_PARTITIONS)))

    def partitions(self) -> list[tuple[int, int]]:
        """Return ranges of series (first, beyond the last) that hold about `PARTITION_ROWS` rows each."""
        return list(zip(self.bounds[:-1].tolist(), self.bounds[1:].tolist(), strict=True))

    @abstractmethod
    def read(self, low: int, high: int) -> Rows:
        """Return the rows of series `low` to `high` (not included), which lie in one partition."""

    def close(self) -> None:
        """Delete the files."""
        self.spool.close()

    def _bounds(self, rows: int) -> Integers:
        inner = np.searchsorted(self.offsets, np.arange(rows, self.spool.rows, rows))
        return np.unique(np.concatenate([[0], inner, [len(self.counts)]])).astype(np.int64)

    def _sorted(
        self, low: int, high: int, places: Integers | None, columns: list[npt.NDArray[Any]], series: Codes | None
    ) -> Rows:
        """Sort rows by time within each series, and by `series` where it is given."""
        starts = self.offsets[low : high + 1] - self.offsets[low]
        if series is not None or _falls(columns[0], starts):
            of_row = np.repeat(np.arange(high - low), np.diff(starts)) if series is None else series
            order = np.lexsort((columns[0], of_row))
            first = int(self.offsets[low])
            places = (first + np.arange(len(order)) if places is None else places)[order]
            columns = [column[order] for column in columns]
        return Rows(starts, columns[0], columns[1], columns[2:], places, int(self.offsets[low]))


def _falls(times: Integers, starts: Integers) -> bool:
    """Whether time runs backwards anywhere within a series."""
    falls = times[1:] < times[:-1]
    falls[starts[1:-1] - 1] = False
    return bool(falls.any())


class GroupedRows(SortedRows):
    """For rows that lie together by series: each series is read from where it is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        codes, lengths = self.spool.all_runs()
        begins = np.cumsum(lengths, dtype=np.int64) - lengths
        of_run = self.ranks[codes]
        order = np.argsort(of_run, kind="stable")
        self._begins, self._lengths = begins[order], lengths[order].astype(np.int64)
        self._runs = np.searchsorted(of_run[order], np.arange(len(self.counts) + 1))

    def read(self, low: int, high: int) -> Rows:
        """Return the rows of series `low` to `high` (not included)."""
        runs = slice(self._runs[low], self._runs[high])
        begins, lengths = _joined(self._begins[runs], self._lengths[runs])
        size, first = int(lengths.sum()), int(self.offsets[low])
        columns = [np.empty(size, np.int64), *(np.empty(size) for _ in range(1 + self.spool.n_covariates))]
        ends = np.cumsum(lengths)
        for begin, end, length in zip(begins.tolist(), ends.tolist(), lengths.tolist(), strict=True):
            for index, column in enumerate(columns, start=1):
                self.spool.read_into(index, begin, column[end - length : end])
        in_place = len(begins) == 1 and int(begins[0]) == first
        places = None if in_place else np.repeat(begins - (ends - lengths), lengths) + np.arange(size)
        return self._sorted(low, high, places, columns, None)


def _joined(begins: Integers, lengths: Integers) -> tuple[Integers, Integers]:
    """Join stretches that follow each other."""
    heads = np.flatnonzero(np.concatenate([[True], begins[1:] != begins[:-1] + lengths[:-1]]))
    return begins[heads], np.add.reduceat(lengths, heads)


class ShuffledRows(SortedRows):
    """For rows that lie apart: they are written once more, one file a partition."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ["rank", "place", "times", *(f"column-{i}" for i in range(1 + self.spool.n_covariates))]
        kinds = ["i8", "i8", "i8", *["f8"] * (1 + self.spool.n_covariates)]
        self._kind = np.dtype(list(zip(names, kinds, strict=True)))
        self._cached: tuple[int, Rows] | None = None
        files = [self._path(i).open("wb", buffering=0) for i in range(len(self.bounds) - 1)]
        try:
            for place, codes, columns in self.spool.blocks():
                self._distribute(place, self.ranks[codes], columns, files)
        finally:
            for file in files:
                file.close()

    def read(self, low: int, high: int) -> Rows:
        """Return the rows of series `low` to `high` (not included), which lie in one partition."""
        partition = int(np.searchsorted(self.bounds, low, side="right")) - 1
        if self._cached is None or self._cached[0] != partition:
            self._cached = partition, self._load(partition)
        return _part(self._cached[1], low - int(self.bounds[partition]), high - int(self.bounds[partition]))

    def close(self) -> None:
        """Delete the files."""
        super().close()
        for index in range(len(self.bounds) - 1):
            self._path(index).unlink(missing_ok=True)

    def _path(self, partition: int) -> Path:
        return self.spool.folder / f"partition-{partition}"

    def _distribute(self, place: int, ranks: Codes, columns: list[npt.NDArray[Any]], files: Sequence[BinaryIO]) -> None:
        records = np.empty(len(ranks), dtype=self._kind)
        for name, values in zip(self._kind.names or (), [ranks, place + np.arange(len(ranks)), *columns], strict=True):
            records[name] = values
        partition = (np.searchsorted(self.bounds, ranks, side="right") - 1).astype(np.uint16)
        records = records[np.argsort(partition, kind="stable")]
        stops = np.cumsum(np.bincount(partition, minlength=len(files)))
        for file, start, stop in zip(files, [0, *stops[:-1].tolist()], stops.tolist(), strict=True):
            write_array(file, records[start:stop].view(np.uint8))

    def _load(self, partition: int) -> Rows:
        low, high = self.bounds[partition : partition + 2].tolist()
        records = np.fromfile(self._path(partition), dtype=self._kind)
        _, _, *columns = (np.ascontiguousarray(records[name]) for name in self._kind.names or ())
        series = (records["rank"] - low).astype(np.int32)
        return self._sorted(low, high, np.ascontiguousarray(records["place"]), columns, series)


def _part(rows: Rows, low: int, high: int) -> Rows:
    first, beyond = rows.starts[low], rows.starts[high]
    span = slice(first, beyond)
    return Rows(
        starts=rows.starts[low : high + 1] - first,
        times=rows.times[span],
        y=rows.y[span],
        covariates=[column[span] for column in rows.covariates],
        places=None if rows.places is None else rows.places[span],
        first_place=rows.first_place + int(first),
    )
