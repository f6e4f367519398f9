"""Read the files of a data set in Nixtla's long format, row by row accountable. Runs on the instance, in the worker."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contracts.reasons import DatasetInvalid

COLUMNS = ("unique_id", "ds", "y")
MISSING_MARKS = ["", "NaN", "nan", "NA", "N/A", "null", "None"]


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
        unique_id (str), ds (datetime64[ns], UTC if the file named a zone), y (float64, NaN where missing), file (int,
        index into `files`) and row (int, 1-based data row), sorted by unique_id and ds.
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
        part, ignored = _read_file(file)
        if ignored:
            notes.append(f"{file.name}: {len(ignored)} other columns ignored ({', '.join(ignored)[:100]}).")
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
    frame = pd.DataFrame(
        {"unique_id": _ids(file, raw), "ds": _timestamps(file, raw), "y": _numbers(file, raw)}
    ).reset_index(drop=True)
    return frame, [str(column) for column in raw.columns if column not in COLUMNS]


def _read_raw(file: DataFile) -> Any:
    try:
        if file.path.suffix == ".parquet":
            return pd.read_parquet(file.path)
        return pd.read_csv(
            file.path,
            dtype={"unique_id": str, "ds": str},
            keep_default_na=False,
            na_values={"y": MISSING_MARKS},
            low_memory=False,
        )
    except pd.errors.EmptyDataError as error:
        raise DatasetInvalid(f"{file.name}: expected a header and rows, found an empty file.") from error
    except (ValueError, OSError, pd.errors.ParserError) as error:
        kind = "Parquet" if file.path.suffix == ".parquet" else "CSV"
        raise DatasetInvalid(f"{file.name}: expected a readable {kind} file, found: {str(error)[:200]}.") from error


def _ids(file: DataFile, raw: Any) -> Any:
    column = raw["unique_id"]
    _refuse_first(file, "unique_id", "a name", column, column.isna() | (column.astype(str) == ""))
    return column.astype(str)


def _timestamps(file: DataFile, raw: Any) -> Any:
    column = raw["ds"]
    if pd.api.types.is_numeric_dtype(column):
        _refuse_first(file, "ds", "a timestamp such as 2026-11-23", column, np.ones(len(column), dtype=bool))
    parsed = pd.to_datetime(column, errors="coerce", utc=True)
    if parsed.isna().any() and not pd.api.types.is_datetime64_any_dtype(column):
        # One odd row makes pandas give up on the format of the first: read the rest with a format of their own.
        parsed = parsed.fillna(pd.to_datetime(column[parsed.isna()], errors="coerce", utc=True, format="ISO8601"))
    _refuse_first(file, "ds", "a timestamp such as 2026-11-23", column, parsed.isna())
    return parsed.dt.tz_localize(None).astype("datetime64[ns]")


def _numbers(file: DataFile, raw: Any) -> Any:
    column = raw["y"]
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
        at = frame.iloc[int(np.argmax(again))]
        raise DatasetInvalid(
            f"{names[at['file']]}: column ds, row {at['row']}: expected one value per series and timestamp, found "
            f"{at['unique_id']} at {at['ds']} twice ({int(again.sum())} such rows). Remove one of them."
        )
