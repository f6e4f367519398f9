"""Read the files of a data set in Nixtla's long format, batch by batch. Runs on the instance, in the worker."""

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.reasons import DatasetInvalid

COLUMNS = ("unique_id", "ds", "y")
MISSING_MARKS = ["", "NaN", "nan", "NA", "N/A", "null", "None"]
BATCH_ROWS = 131_072
READ_AHEAD_BYTES = 1 << 20
# The name that pandas gives to an index without one, when it writes Parquet.
UNNAMED_INDEX = re.compile(r"__index_level_\d+__")
# Takes what stands to the right of the header's last column.
BEYOND = "fields beyond the header"


@dataclass(frozen=True)
class DataFile:
    """A downloaded file: its key below the data set's prefix, where it is, and the SHA-256 of its bytes (hex)."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Table:
    """An open file.

    Parameters
    ----------
    batches : iterator of pyarrow.RecordBatch
        The wanted columns, in the order asked for; raises DatasetInvalid where the file cannot be read.
    ignored : list of str
        Names of the other columns.
    """

    batches: Iterator[Any]
    ignored: list[str]


def data_sha256(files: Iterable[DataFile]) -> str:
    """Return the hash of a data set: SHA-256 over the sorted lines `<path> <sha256>`, independent of file order."""
    lines = sorted(f"{file.name} {file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def open_table(file: DataFile, covariates: Sequence[str] = (), batch_rows: int = BATCH_ROWS) -> Table:
    """Open a CSV or Parquet file of a data set.

    Parameters
    ----------
    file : DataFile
        With the columns unique_id, ds, y and the covariates.
    covariates : sequence of str
        Names of further columns to read.
    batch_rows : int
        Most rows of a batch. Memory grows with it, not with the file.

    Raises
    ------
    DatasetInvalid
        The file cannot be read, or has no column of a wanted name, or two.
    """
    wanted = [*COLUMNS, *covariates]
    with _readable(file):
        source: _Csv | _Parquet = (_Parquet if file.path.suffix == ".parquet" else _Csv)(file.path)
    _check_columns(file, source.columns, wanted)
    ignored = [name for name in source.columns if name not in wanted and not UNNAMED_INDEX.fullmatch(name)]
    return Table(_translated(file, source.batches(wanted, batch_rows)), ignored)


def _check_columns(file: DataFile, found: list[str], wanted: list[str]) -> None:
    missing = [column for column in wanted if column not in found]
    if missing:
        raise DatasetInvalid(
            f"{file.name}: expected the columns {', '.join(wanted)}, found {', '.join(found)[:200] or 'none'}. "
            f"Add or rename column {missing[0]}."
        )
    twice = [column for column in wanted if found.count(column) > 1]
    if twice:
        raise DatasetInvalid(
            f"{file.name}: expected one column {twice[0]}, found several. Rename or remove the others."
        )


class _Parquet:
    def __init__(self, path: Path) -> None:
        # Ids stay codes into a dictionary, and a row group of any size is read through a buffer.
        self.file = pq.ParquetFile(path, read_dictionary=["unique_id"], buffer_size=READ_AHEAD_BYTES)
        self.columns: list[str] = list(self.file.schema_arrow.names)

    def batches(self, wanted: list[str], rows: int) -> Iterator[Any]:
        with self.file:
            for groups in self._row_groups(rows):
                # A reader of all row groups would hold what it has read of each of them until the end.
                for batch in self.file.iter_batches(rows, row_groups=groups, columns=wanted, use_threads=False):
                    yield batch.select(wanted)

    def _row_groups(self, rows: int) -> Iterator[list[int]]:
        """Yield neighbouring row groups of about `rows` rows together, at least one at a time."""
        groups, size = [], 0
        for index in range(self.file.num_row_groups):
            groups.append(index)
            size += self.file.metadata.row_group(index).num_rows
            if size >= rows:
                yield groups
                groups, size = [], 0
        if groups:
            yield groups


class _Csv:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = [str(name) for name in self._read(nrows=0).columns]

    def batches(self, wanted: list[str], rows: int) -> Iterator[Any]:
        chunks = self._read(
            names=[*self.columns, BEYOND],
            header=None,
            skiprows=1,
            dtype={"unique_id": str, "ds": str, BEYOND: str},
            na_values={name: MISSING_MARKS for name in wanted if name not in ("unique_id", "ds")},
            chunksize=rows,
        )
        with chunks:
            for chunk in chunks:
                _refuse_wide_rows(chunk)
                yield pa.record_batch([_arrow(chunk[name]) for name in wanted], names=wanted)

    def _read(self, **how: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                self.path, keep_default_na=False, low_memory=False, index_col=False, skipinitialspace=True, **how
            )


class _WideRowError(ValueError):
    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def _refuse_wide_rows(chunk: Any) -> None:
    """Refuse a row longer than the header: pandas would cut it, and half of 1,5 would be lost."""
    wide = chunk[BEYOND].notna() & (chunk[BEYOND] != "")
    if wide.any():
        raise _WideRowError(int(chunk.index[wide][0]) + 1)


def _arrow(column: Any) -> Any:
    # A chunk of nothing but True and False must not pass for ones and zeros: it would depend on where chunks end.
    known = column.dropna()
    if len(known) and isinstance(known.iloc[0], bool | np.bool_):
        column = known.astype(str).reindex(column.index)
    return pa.array(column, from_pandas=True)


def _translated(file: DataFile, batches: Iterator[Any]) -> Iterator[Any]:
    while True:
        # Only what reading raises is the file's fault, not what is done with a batch.
        with _readable(file):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _readable(file: DataFile) -> Iterator[None]:
    try:
        yield
    except pd.errors.EmptyDataError as error:
        raise DatasetInvalid(
            f"{file.name}: expected a header and rows, found an empty file. Upload a file with data."
        ) from error
    except (_WideRowError, pd.errors.ParserWarning) as error:
        # pandas warns of the first row only.
        row = error.row if isinstance(error, _WideRowError) else 1
        raise DatasetInvalid(
            f"{file.name}: row {row}: expected as many fields as the header has, found more. "
            "Remove commas at the end of rows and inside numbers."
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetInvalid(
            f"{file.name}: expected CSV in UTF-8, found a byte that is not ({error.reason}). Save it as UTF-8 text."
        ) from error
    except (ValueError, OSError, pa.ArrowException) as error:
        kind = "Parquet" if file.path.suffix == ".parquet" else "CSV"
        found = " ".join(str(error).split())[:200].rstrip(".")
        raise DatasetInvalid(
            f"{file.name}: expected a readable {kind} file, found: {found}. Write the file again."
        ) from error
