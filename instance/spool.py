"""Keep the rows of a data set on disk and read them back. Runs on the instance, in the worker."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

SHUFFLE_ROWS = 1 << 18


@dataclass(frozen=True)
class Mark:
    """How far a spool was written."""

    rows: int
    runs: int
    batches: int


@dataclass
class Spool:
    """Appends rows to files below a folder, one file a column, the names as runs of equal codes.

    Parameters
    ----------
    folder : Path
        Made if need be; its files are scratch.
    n_covariates : int
        Columns beside the timestamps and y.
    """

    folder: Path
    n_covariates: int
    rows: int = 0
    runs: int = 0
    batches: list[tuple[int, int]] = field(default_factory=list)
    _files: list[BinaryIO] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._files = [path.open("w+b", buffering=0) for path in self.paths()]

    def paths(self) -> list[Path]:
        """Return the files: runs, times, y, covariates."""
        return [self.folder / f"column-{i}" for i in range(3 + self.n_covariates)]

    def append(self, codes: Codes, lengths: Codes, columns: Sequence[npt.NDArray[Any]]) -> None:
        """Append a batch: the code and length of each run, and times, y and covariates, each of shape (rows,)."""
        for file, column in zip(self._files, [np.stack([codes, lengths], axis=1), *columns], strict=True):
            write_array(file, column)
        self.batches.append((len(columns[0]), len(codes)))
        self.rows, self.runs = self.rows + len(columns[0]), self.runs + len(codes)

    def mark(self) -> Mark:
        """Return a place to come back to."""
        return Mark(self.rows, self.runs, len(self.batches))

    def rewind(self, mark: Mark) -> None:
        """Forget what was appended since `mark`."""
        self.rows, self.runs = mark.rows, mark.runs
        del self.batches[mark.batches :]
        for index, file in enumerate(self._files):
            file.seek(8 * (mark.runs if index == 0 else mark.rows))
            file.truncate()

    def counts(self, n_codes: int) -> Integers:
        """Count the rows of each code, shape (n_codes,)."""
        counts = np.zeros(n_codes, dtype=np.int64)
        for _, codes, lengths in self._batch_runs():
            counts += np.bincount(codes, lengths, minlength=n_codes).astype(np.int64)
        return counts

    def read_into(self, column: int, start: int, out: npt.NDArray[Any]) -> None:
        """Fill `out` with the numbers of a file from number `start` on."""
        view = out.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            done += os.preadv(self._files[column].fileno(), [view[done:]], 8 * start + done)

    def blocks(self) -> Iterator[tuple[int, Codes, list[npt.NDArray[Any]]]]:
        """Yield place of the first row, code of each row, and the columns, some batches at a time."""
        for place, codes, lengths in self._batch_runs():
            size = int(lengths.sum())
            columns = [np.empty(size, np.int64), *(np.empty(size) for _ in range(1 + self.n_covariates))]
            for index, column in enumerate(columns, start=1):
                self.read_into(index, place, column)
            yield place, np.repeat(codes, lengths), columns

    def all_runs(self) -> tuple[Codes, Codes]:
        """Return the code and length of every run."""
        table = np.empty((self.runs, 2), dtype=np.int32)
        self.read_into(0, 0, table)
        return table[:, 0], table[:, 1]

    def _batch_runs(self) -> Iterator[tuple[int, Codes, Codes]]:
        place = run = 0
        for rows, runs in _merged(self.batches):
            table = np.empty((runs, 2), dtype=np.int32)
            self.read_into(0, run, table)
            yield place, table[:, 0], table[:, 1]
            place, run = place + rows, run + runs

    def close(self) -> None:
        """Close and delete the files."""
        for file, path in zip(self._files, self.paths(), strict=True):
            file.close()
            path.unlink(missing_ok=True)


def _merged(batches: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    rows = runs = 0
    for more_rows, more_runs in batches:
        if rows and rows + more_rows > SHUFFLE_ROWS:
            yield rows, runs
            rows = runs = 0
        rows, runs = rows + more_rows, runs + more_runs
    if rows:
        yield rows, runs


def write_array(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    """Append the bytes of an array to an unbuffered file."""
    view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    while view.nbytes:
        view = view[file.write(view) :]
