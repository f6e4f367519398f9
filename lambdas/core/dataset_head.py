"""What can be told about a data file without pandas, before money is spent. Runs in Lambda; pure.

CSV files up to the size the caller chooses are read to the end: header, row width, timestamps, numbers, duplicates.
Of the others only the head is read; of Parquet only the magic bytes. The instance checks everything again.
"""

import csv
import io
import math
from collections.abc import Iterator
from datetime import datetime

from contracts.reasons import DatasetInvalid

COLUMNS = ("unique_id", "ds", "y")
PARQUET_MAGIC = b"PAR1"
# What the instance takes for a missing value; see MISSING_MARKS in instance/dataset.py.
_MISSING = ("", "nan", "na", "n/a", "null", "none")


def check_parquet(key: str, head: bytes) -> None:
    """Refuse a file that is not Parquet, by its first bytes."""
    if not head.startswith(PARQUET_MAGIC):
        raise DatasetInvalid(f"{key}: expected a Parquet file, found other content; export it again as Parquet or CSV.")


def check_csv(key: str, content: bytes, whole: bool) -> None:
    """Refuse a CSV file that the instance would refuse.

    Parameters
    ----------
    key : str
        Named in errors.
    content : bytes
        The file, or its head.
    whole : bool
        Whether `content` is all of it; of a head the last row is left out, which may be cut.

    Raises
    ------
    DatasetInvalid
        With file, column and data row, the first row being 1.
    """
    rows = _rows(key, content, whole)
    header = next(rows, None)
    if header is None:
        if not whole:
            # A header longer than the head: nothing to be told yet.
            return
        header = []
    positions = _positions(key, header)
    seen: set[tuple[str, datetime]] = set()
    observed = 0
    for number, row in enumerate(rows, start=1):
        _check_width(key, number, row, len(header))
        observed += _check_row(key, number, row, positions, seen)
    if whole and not seen:
        raise DatasetInvalid(f"{key}: expected at least one row below the header, found none.")
    if whole and not observed:
        raise DatasetInvalid(f"{key}, column y: expected numbers, found only empty or NaN values.")


def _rows(key: str, content: bytes, whole: bool) -> Iterator[list[str]]:
    """Yield the rows that are not blank, the header first; of a head without the last one.

    A head ends anywhere: within a letter, a line, or a quoted field that holds a line break.
    """
    complete = content if whole else content[: content.rfind(b"\n") + 1]
    try:
        text = complete.decode("utf-8-sig")
        rows = filter(None, csv.reader(io.StringIO(text, newline="")))
        yield from rows if whole else _without_last(rows)
    except UnicodeDecodeError as error:
        raise DatasetInvalid(
            f"{key}: expected UTF-8 text, found byte {error.start} that is not; save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise DatasetInvalid(f"{key}: expected CSV text, found a row that cannot be read: {error}.") from error


def _without_last(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    held = next(rows, None)
    for row in rows:
        if held is not None:
            yield held
        held = row


def _positions(key: str, header: list[str]) -> dict[str, int]:
    names = [name.lstrip() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        found = ", ".join(names)[:200] or "no header"
        raise DatasetInvalid(
            f"{key}: expected the columns {', '.join(COLUMNS)}, found {found}; add {', '.join(missing)}."
        )
    return {name: names.index(name) for name in COLUMNS}


def _check_width(key: str, number: int, row: list[str], width: int) -> None:
    if any(row[width:]):
        raise DatasetInvalid(
            f"{key}, row {number}: expected {width} fields as in the header, found {len(row)}; "
            "write decimals with a point, and put text that holds a comma in quotes."
        )


def _check_row(
    key: str, number: int, row: list[str], positions: dict[str, int], seen: set[tuple[str, datetime]]
) -> bool:
    """Check one row; returns whether it holds an observation."""
    if len(row) <= max(positions.values()):
        raise DatasetInvalid(
            f"{key}, row {number}: expected {max(positions.values()) + 1} fields or more, found {len(row)}."
        )
    series, stamp, value = (row[positions[name]].strip() for name in COLUMNS)
    if not series:
        raise DatasetInvalid(f"{key}, column unique_id, row {number}: expected a name, found nothing.")
    point = (series, _timestamp(key, number, stamp))
    if point in seen:
        raise DatasetInvalid(
            f"{key}, column ds, row {number}: expected each timestamp once, found {stamp} again in {series[:60]}."
        )
    seen.add(point)
    return _is_observation(key, number, value)


def _timestamp(key: str, number: int, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise DatasetInvalid(
            f"{key}, column ds, row {number}: expected a timestamp like 2026-01-31 or 2026-01-31T12:00, "
            f"found {text[:60]!r}."
        ) from error


def _is_observation(key: str, number: int, text: str) -> bool:
    if text.lower() in _MISSING:
        return False
    try:
        # Python reads 1_000 as a number; pandas, on the instance, does not.
        value = float(text.replace("_", "?"))
    except ValueError as error:
        raise DatasetInvalid(f"{key}, column y, row {number}: expected a number, found {text[:60]!r}.") from error
    if math.isinf(value):
        raise DatasetInvalid(f"{key}, column y, row {number}: expected a finite number, found {text}.")
    return True


def head_problems(files: Iterator[tuple[str, bytes, bool]]) -> None:
    """Check each (key, content, whole) file; raises DatasetInvalid on the first that cannot be used."""
    for key, content, whole in files:
        if key.endswith(".parquet"):
            check_parquet(key, content)
        else:
            check_csv(key, content, whole)
