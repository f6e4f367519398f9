"""Check and convert the columns of a batch of rows: names, timestamps, numbers. Runs on the instance, in the worker."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from contracts.reasons import DatasetInvalid

Mask = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

EARLIEST, LATEST = pd.Timestamp("1678-01-01"), pd.Timestamp("2261-12-31 23:59:59")
A_TIMESTAMP = "a timestamp such as 2026-11-23 or 2026-11-23T12:00 (ISO 8601, years 1678 to 2261)"
FIRST_CHECKED = ("ds", "unique_id", "y")
A_NAME, A_NUMBER, A_FINITE_NUMBER = "a name", "a number", "a finite number"
# After a time only: the last part of a bare date looks like an offset, too.
ZONE_AFTER_TIME = re.compile(r"(:\d{2}(?:\.\d+)?)\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$")


@dataclass
class _Fault:
    row: int
    found: str
    count: int


class Faults:
    """The first wrong row of each column of a file and how many there are, gathered over all of its batches.

    Parameters
    ----------
    file_name : str
        Named in the error.
    """

    def __init__(self, file_name: str) -> None:
        self._file_name = file_name
        self._found: dict[tuple[str, str], _Fault] = {}
        self.rows = 0

    def add(self, name: str, expected: str, column: Any, wrong: Mask) -> None:
        """Note which rows of a batch are wrong; `column` is the Arrow array as it was read."""
        count = int(np.count_nonzero(wrong))
        if not count:
            return
        at = int(np.argmax(wrong))
        cell = column.slice(at, 1)
        cell = cell.dictionary_decode() if pa.types.is_dictionary(cell.type) else cell
        found = str(cell.to_pandas().iloc[0])[:60]
        fault = self._found.setdefault((name, expected), _Fault(self.rows + at + 1, found, 0))
        fault.count += count

    @property
    def any(self) -> bool:
        """Whether anything was wrong."""
        return bool(self._found)

    def refuse(self) -> None:
        """Raise DatasetInvalid when something was wrong: timestamps first, then names, then numbers."""
        if self._found:
            name, expected = min(self._found, key=_rank)
            fault = self._found[name, expected]
            raise DatasetInvalid(
                f"{self._file_name}: column {name}, row {fault.row}: expected {expected}, found {fault.found!r}"
                + (f" (and {fault.count - 1} more rows)." if fault.count > 1 else ".")
            )


def _rank(fault: tuple[str, str]) -> tuple[int, str, bool]:
    name, expected = fault
    return FIRST_CHECKED.index(name) if name in FIRST_CHECKED else len(FIRST_CHECKED), name, expected == A_FINITE_NUMBER


class Names:
    """Numbers the names of series in the order in which they first occur, over all files of a data set."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self._last: tuple[Any, npt.NDArray[np.int32]] | None = None

    def runs(self, column: Any, faults: Faults) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return the code and the length of each run of rows with one name; faulty rows have code -1."""
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        codes = self._codes(encoded.dictionary)
        indices = encoded.indices.to_numpy(zero_copy_only=False) if not encoded.null_count else _with_nulls(encoded)
        starts = np.flatnonzero(np.concatenate([[True], indices[1:] != indices[:-1]]))
        lengths = np.diff(np.append(starts, len(indices))).astype(np.int32)
        of_runs = codes[indices[starts].astype(np.int64)]
        if (of_runs < 0).any():
            faults.add("unique_id", A_NAME, column, np.repeat(of_runs < 0, lengths))
        return of_runs, lengths

    def _codes(self, dictionary: Any) -> npt.NDArray[np.int32]:
        """Return the code of each entry, and -1 at the end for rows without one."""
        if self._last is None or not self._last[0].equals(dictionary):
            entries = dictionary.to_pandas()
            texts = entries.astype(str)
            wrong = entries.isna() | (texts == "")
            codes = [
                -1 if bad else self.codes.setdefault(t, len(self.codes)) for t, bad in zip(texts, wrong, strict=True)
            ]
            self._last = dictionary, np.array([*codes, -1], dtype=np.int32)
        return self._last[1]


def _with_nulls(encoded: Any) -> npt.NDArray[Any]:
    return np.asarray(encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False))


class Clock:
    """Converts the timestamps of one file to nanoseconds since 1970.

    Where the file names time zones, the result is UTC; unless every time in the file is midnight in its zone: then they
    are dates, and keep their day. That is known only at the end of the file, so the caller chooses one reading and asks
    `changed_its_mind` after each batch.

    Parameters
    ----------
    as_written : bool
        Read the clock as it is written, or else in UTC.
    """

    def __init__(self, as_written: bool) -> None:
        self.as_written = as_written
        self.zoned = False
        self._all_midnight = True

    @property
    def changed_its_mind(self) -> bool:
        """Whether times were read as written although the file, as now known, must be read in UTC."""
        return self.as_written and self.zoned and not self._all_midnight

    def notes(self) -> list[str]:
        """Say what was done about time zones."""
        if not self.zoned:
            return []
        if self.as_written:
            return ["midnights in a time zone were taken as dates."]
        return ["timestamps with a time zone were converted to UTC."]

    def read(self, column: Any, faults: Faults) -> Integers:
        """Return int64 nanoseconds, shape (rows,); faulty rows hold any number."""
        kind = column.type
        if pa.types.is_date(kind):
            column, kind = column.cast(pa.timestamp("ms")), pa.timestamp("ms")
        if pa.types.is_timestamp(kind) and kind.tz is None:
            return self._checked(column.to_numpy(zero_copy_only=False), column, faults)
        if pa.types.is_timestamp(kind):
            return self._checked(self._chosen(*_zoned(column.to_pandas())), column, faults)
        encoded = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
        if not _is_text(encoded.type.value_type):
            return self._checked(np.full(len(column), np.datetime64("NaT"), "datetime64[ns]"), column, faults)
        distinct = self._chosen(*_parsed(encoded.dictionary.to_pandas()))
        indices = _with_nulls(encoded)
        return self._checked(np.append(distinct, np.datetime64("NaT"))[indices], column, faults)

    def _chosen(self, zoned: bool, utc: Any, local: Any) -> npt.NDArray[Any]:
        self.zoned |= zoned
        self._all_midnight = self._all_midnight and bool((local == local.dt.normalize()).all())
        # A time that UTC cannot express is out of range in any zone.
        chosen = local.where(utc.notna()) if self.as_written else utc
        return np.asarray(chosen.to_numpy())

    def _checked(self, times: npt.NDArray[Any], column: Any, faults: Faults) -> Integers:
        unit = np.datetime_data(times.dtype)[0]
        low, high = (bound.as_unit(unit).to_datetime64() for bound in (EARLIEST, LATEST))
        right = (times >= low) & (times <= high)
        if not right.all():
            faults.add("ds", A_TIMESTAMP, column, ~right)
            times = np.where(right, times, low)
        return np.asarray(times.astype("datetime64[ns]").view(np.int64))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _zoned(column: Any) -> tuple[bool, Any, Any]:
    return True, column.dt.tz_convert("UTC").dt.tz_localize(None), column.dt.tz_localize(None)


def _parsed(column: Any) -> tuple[bool, Any, Any]:
    """Return whether any text names a zone, all times in UTC, and all as written; NaT where there is none."""
    text = column.astype(str).str.strip()
    # ISO 8601 and nothing else: 03/04/2026 is a day in March or in April, and a guess would go unnoticed.
    utc = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    local = text.str.replace(ZONE_AFTER_TIME, r"\1", regex=True)
    if (local == text).all():
        return False, utc, utc
    return True, utc, pd.to_datetime(local, errors="coerce", format="ISO8601")


def numbers(name: str, column: Any, faults: Faults) -> Floats:
    """Return float64 numbers, NaN where missing; what is no number or infinite is added to `faults`."""
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    else:
        values = _parsed_numbers(name, column, faults)
    infinite = np.isinf(values)
    if infinite.any():
        faults.add(name, A_FINITE_NUMBER, column, infinite)
    return values


def _parsed_numbers(name: str, column: Any, faults: Faults) -> Floats:
    if pa.types.is_temporal(column.type):
        faults.add(name, A_NUMBER, column, np.ones(len(column), dtype=bool))
        return np.zeros(len(column))
    found = column.to_pandas()
    values = np.asarray(pd.to_numeric(found, errors="coerce").astype("float64"))
    faults.add(name, A_NUMBER, column, np.isnan(values) & ~found.isna().to_numpy())
    return values
