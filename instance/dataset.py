"""Read the files of a data set in Nixtla's long format, row by row accountable. Runs on the instance, in the worker."""

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from contracts.reasons import DatasetInvalid

COLUMNS = ("unique_id", "ds", "y")
MISSING_MARKS = ["", "NaN", "nan", "NA", "N/A", "null", "None"]
EARLIEST, LATEST = pd.Timestamp("1678-01-01"), pd.Timestamp("2261-12-31 23:59:59")
A_TIMESTAMP = "a timestamp such as 2026-11-23 or 2026-11-23T12:00 (ISO 8601, years 1678 to 2261)"
# After a time only: the last part of a bare date looks like an offset, too.
ZONE_AFTER_TIME = re.compile(r"(:\d{2}(?:\.\d+)?)\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$")


@dataclass(frozen=True)
class DataFile:
    """A downloaded file: its key below the data set's prefix, where it is, and the SHA-256 of its bytes (hex)."""

    name: str
    path: Path
    sha256: str


def data_sha256(files: Iterable[DataFile]) -> str:
    """Return the hash of a data set: SHA-256 over the sorted lines `<path> <sha256>`, independent of file order."""
    lines = sorted(f"{file.name} {file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_dataset(files: Sequence[DataFile]) -> tuple[Any, list[str]]:
    """Read and concatenate the files of a data set.

    Parameters
    ----------
    files : sequence of DataFile
        CSV or Parquet files, each with the columns unique_id, ds and y. Other columns are ignored.

    Returns
    -------
    frame : pandas.DataFrame
        unique_id (str), ds (datetime64[ns]), y (float64, NaN where missing), file (int, index into `files`) and row
        (int, 1-based data row), sorted by unique_id and ds. Where a file names a time zone, ds is UTC; if all its
        times are midnight in their zone they are dates, and keep their day.
    notes : list of str
        What was done to the data, with counts.

    Raises
    ------
    DatasetInvalid
        Naming file, column and row: a missing column, no rows, an empty unique_id, an unreadable ds, a y that is not a
        number or is infinite, or a (unique_id, ds) that occurs twice.
    """
    parts, notes = [], []
    for index, file in enumerate(sorted(files, key=lambda file: file.name)):
        part, said = _read_file(file)
        notes += [f"{file.name}: {sentence}" for sentence in said]
        parts.append(part.assign(file=index, row=np.arange(1, len(part) + 1)))
    frame = pd.concat(parts, ignore_index=True)
    if not len(frame):
        raise DatasetInvalid(f"{files[0].name}: expected at least one row, found none. Upload a file with data.")
    ordered = frame.sort_values(["unique_id", "ds"], kind="stable", ignore_index=True)
    moved = int((ordered[["file", "row"]].to_numpy() != frame[["file", "row"]].to_numpy()).any(axis=1).sum())
    if moved:
        notes.append(f"Sorted by unique_id and ds: {moved} of {len(frame)} rows were out of order.")
    _refuse_duplicates(ordered, sorted(file.name for file in files))
    return ordered, notes


def _read_file(file: DataFile) -> tuple[Any, list[str]]:
    raw = _read_raw(file)
    missing = [column for column in COLUMNS if column not in raw.columns]
    if missing:
        found = ", ".join(map(str, raw.columns))[:200]
        raise DatasetInvalid(
            f"{file.name}: expected the columns unique_id, ds, y, found {found or 'none'}. "
            f"Add or rename column {missing[0]}."
        )
    times, notes = _timestamps(file, raw)
    frame = pd.DataFrame({"unique_id": _ids(file, raw), "ds": times, "y": _numbers(file, raw)}).reset_index(drop=True)
    ignored = [str(column) for column in raw.columns if column not in COLUMNS]
    if ignored:
        notes.append(f"{len(ignored)} other columns ignored ({', '.join(ignored)[:100]}).")
    return frame, notes


def _read_raw(file: DataFile) -> Any:
    try:
        return _read_parquet(file.path) if file.path.suffix == ".parquet" else _read_csv(file.path)
    except pd.errors.EmptyDataError as error:
        raise DatasetInvalid(
            f"{file.name}: expected a header and rows, found an empty file. Upload a file with data."
        ) from error
    except pd.errors.ParserWarning as error:
        raise DatasetInvalid(
            f"{file.name}: row 1: expected as many fields as the header has, found more. "
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


def _read_parquet(path: Path) -> Any:
    frame = pd.read_parquet(path)
    # pandas takes columns that were an index when the file was written out of the table again.
    return frame.reset_index() if any(frame.index.names) else frame


def _read_csv(path: Path) -> Any:
    with warnings.catch_warnings():
        # Rows longer than the header are cut with no more than this warning: half of a number like 1,5 would be lost.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path,
            dtype={"unique_id": str, "ds": str},
            keep_default_na=False,
            na_values={"y": MISSING_MARKS},
            low_memory=False,
            index_col=False,
            skipinitialspace=True,
        )


def _ids(file: DataFile, raw: Any) -> Any:
    column = raw["unique_id"]
    _refuse_first(file, "unique_id", "a name", column, column.isna() | (column.astype(str) == ""))
    return column.astype(str)


def _timestamps(file: DataFile, raw: Any) -> tuple[Any, list[str]]:
    column = raw["ds"]
    if not _holds_times(column):
        _refuse_first(file, "ds", A_TIMESTAMP, column, np.ones(len(column), dtype=bool))
    zoned, utc, local = _utc_and_local(column)
    _refuse_first(file, "ds", A_TIMESTAMP, column, ~((utc >= EARLIEST) & (utc <= LATEST)))
    if not zoned:
        return utc.astype("datetime64[ns]"), []
    if (local == local.dt.normalize()).all():
        return local.astype("datetime64[ns]"), ["midnights in a time zone were taken as dates."]
    return utc.astype("datetime64[ns]"), ["timestamps with a time zone were converted to UTC."]


def _holds_times(column: Any) -> bool:
    types = pd.api.types
    return types.is_datetime64_any_dtype(column) or not (
        types.is_numeric_dtype(column) or types.is_timedelta64_dtype(column)
    )


def _utc_and_local(column: Any) -> tuple[bool, Any, Any]:
    """Return whether any timestamp names a zone, all in UTC, and all as written; NaT where there is none."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return True, column.dt.tz_convert("UTC").dt.tz_localize(None), column.dt.tz_localize(None)
    if pd.api.types.is_datetime64_any_dtype(column):
        return False, column, column
    text = column.astype(str).str.strip()
    # ISO 8601 and nothing else: 03/04/2026 is a day in March or in April, and a guess would go unnoticed.
    utc = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    local = text.str.replace(ZONE_AFTER_TIME, r"\1", regex=True)
    if (local == text).all():
        return False, utc, utc
    return True, utc, pd.to_datetime(local, errors="coerce", format="ISO8601")


def _numbers(file: DataFile, raw: Any) -> Any:
    column = raw["y"]
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        _refuse_first(file, "y", "a number", column, np.ones(len(column), dtype=bool))
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    _refuse_first(file, "y", "a number", column, numbers.isna() & ~column.isna())
    _refuse_first(file, "y", "a finite number", column, np.isinf(numbers))
    return numbers


def _refuse_first(file: DataFile, name: str, expected: str, column: Any, wrong: Any) -> None:
    rows = np.flatnonzero(np.asarray(wrong))
    if len(rows):
        found = str(column.iloc[rows[0]])[:60]
        raise DatasetInvalid(
            f"{file.name}: column {name}, row {rows[0] + 1}: expected {expected}, found {found!r}"
            + (f" (and {len(rows) - 1} more rows)." if len(rows) > 1 else ".")
        )


def _refuse_duplicates(frame: Any, names: list[str]) -> None:
    again = frame.duplicated(["unique_id", "ds"], keep="first").to_numpy()
    if again.any():
        position = int(np.argmax(again))
        first, at = frame.iloc[position - 1], frame.iloc[position]
        raise DatasetInvalid(
            f"{names[at['file']]}: column ds, row {at['row']}: expected one value per series and timestamp, found "
            f"{at['unique_id']} at {at['ds']} twice, first in {names[first['file']]}, row {first['row']} "
            f"({int(again.sum())} such rows). Remove one of them."
        )
