"""Reading rows: what is refused, with file, column and row, and what is put right, for any size of batch."""

import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.reasons import DatasetInvalid
from instance.dataset import DataFile, data_sha256
from instance.scan import Scan

GOOD = "unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\n"


def read_dataset(files: list[DataFile], batch_rows: int = 2) -> tuple[pd.DataFrame, list[str]]:
    """Rows by series and time, and the notes of the reading."""
    told: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        scan = Scan(files, [], Path(folder))
        scan.read(told.append, batch_rows)
        rows = scan.sorted()
        scan.refuse_duplicates(rows)
        parts = [rows.read(low, high) for low, high in rows.partitions()]
        rows.close()
    counts = np.concatenate([np.diff(part.starts) for part in parts])
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(scan.names, counts),
            "ds": np.concatenate([part.times for part in parts]).view("datetime64[ns]"),
            "y": np.concatenate([part.y for part in parts]),
        }
    )
    assert sum(told) == len(frame)
    moved = sum(part.moved for part in parts)
    return frame, scan.notes + ([f"{moved} rows moved"] if moved else [])


def csv(folder: Path, text: str, name: str = "a.csv") -> DataFile:
    path = folder / name
    path.write_text(text)
    return DataFile(name, path, "0" * 64)


def test_reads_csv_and_parquet_together(tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    pd.DataFrame({"unique_id": ["b"], "ds": pd.to_datetime(["2024-01-01"]), "y": [5], "extra": [1]}).to_parquet(path)
    frame, notes = read_dataset([DataFile("b.parquet", path, "1"), csv(tmp_path, GOOD)])
    assert frame["unique_id"].tolist() == ["a", "a", "b"]
    assert frame["y"].tolist() == [1.0, 2.0, 5.0]
    assert str(frame["ds"].dtype) == "datetime64[ns]"
    assert notes == ["b.parquet: 1 other columns ignored (extra)."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,ds,y\na,2024-01-01,1\n", "a.csv: expected the columns unique_id, ds, y, found id, ds, y. "),
        ("", "a.csv: expected a header and rows, found an empty file."),
        ("unique_id,ds,y\n", "a.csv: expected at least one row, found none."),
        ("unique_id,ds,y\na,2024-01-01,1\na,yesterday,2\n", "a.csv: column ds, row 2: expected a timestamp"),
        ("unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,x\n", "a.csv: column y, row 2: expected a number, found 'x'."),
        ("unique_id,ds,y\na,2024-01-01,inf\n", "a.csv: column y, row 1: expected a finite number, found 'inf'."),
        ("unique_id,ds,y\n,2024-01-01,1\n", "a.csv: column unique_id, row 1: expected a name"),
        ("unique_id,ds,y\na,20240101.5,1\n", "a.csv: column ds, row 1: expected a timestamp"),
        (GOOD + "a,2024-01-01,9\n", "a.csv: column ds, row 3: expected one value per series and timestamp, found a at"),
    ],
)
def test_refuses_bad_data_naming_file_column_and_row(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(DatasetInvalid) as caught:
        read_dataset([csv(tmp_path, text)])
    assert expected in caught.value.message


def test_counts_the_other_rows_with_the_same_fault(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"row 1: .* \(and 2 more rows\)"):
        read_dataset([csv(tmp_path, "unique_id,ds,y\na,2024-01-01,x\na,2024-01-02,x\na,2024-01-03,x\n")])


def test_refuses_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("no")
    with pytest.raises(DatasetInvalid, match=r"a\.parquet: expected a readable Parquet file"):
        read_dataset([DataFile("a.parquet", path, "0")])


def test_a_duplicate_across_files_names_the_second_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"^b\.csv: column ds, row 1: .* twice, first in a\.csv, row 1 \(1 such"):
        read_dataset([csv(tmp_path, "unique_id,ds,y\na,2024-01-01,1\n", "b.csv"), csv(tmp_path, GOOD)])


def test_sorts_and_says_so(tmp_path: Path) -> None:
    frame, notes = read_dataset([csv(tmp_path, "unique_id,ds,y\na,2024-01-02,2\na,2024-01-01,1\n")])
    assert frame["y"].tolist() == [1.0, 2.0]
    assert notes == ["2 rows moved"]


def test_missing_marks_are_nan_and_a_series_may_be_called_na(tmp_path: Path) -> None:
    frame, _ = read_dataset([csv(tmp_path, "unique_id,ds,y\nNA,2024-01-01,\nNA,2024-01-02,NaN\nNA,2024-01-03,3\n")])
    assert frame["unique_id"].unique().tolist() == ["NA"]
    assert np.isnan(frame["y"]).tolist() == [True, True, False]


def test_time_zones_become_utc(tmp_path: Path) -> None:
    frame, _ = read_dataset([csv(tmp_path, "unique_id,ds,y\na,2024-01-01T01:00:00+02:00,1\n")])
    assert frame["ds"].tolist() == [pd.Timestamp("2023-12-31 23:00:00")]


def test_numbers_as_timestamps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"unique_id": ["a"], "ds": [1], "y": [1.0]}).to_parquet(path)
    with pytest.raises(DatasetInvalid, match="column ds, row 1: expected a timestamp"):
        read_dataset([DataFile("a.parquet", path, "0")])


def test_data_hash_depends_on_names_and_bytes_but_not_on_order(tmp_path: Path) -> None:
    one, two = DataFile("a.csv", tmp_path, "1" * 64), DataFile("b.csv", tmp_path, "2" * 64)
    assert data_sha256([one, two]) == data_sha256([two, one])
    assert data_sha256([one, two]) != data_sha256([one, DataFile("c.csv", tmp_path, "2" * 64)])
    assert data_sha256([one]) != data_sha256([DataFile("a.csv", tmp_path, "3" * 64)])


def parquet(folder: Path, **columns: object) -> DataFile:
    good = {"unique_id": ["a", "a"], "ds": ["2024-01-01", "2024-01-02"], "y": [1.0, 2.0]}
    path = folder / "a.parquet"
    pd.DataFrame({**good, **columns}).to_parquet(path)
    return DataFile("a.parquet", path, "0" * 64)


@pytest.mark.parametrize("text", ["01/02/2024", "1.2.2024", "Feb 3 2024"])
def test_a_date_that_can_be_read_in_two_ways_is_refused_not_guessed(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetInvalid, match=r"column ds, row 1: expected a timestamp such as 2026-11-23 .*ISO 8601"):
        read_dataset([csv(tmp_path, f"unique_id,ds,y\na,{text},1\n")])


def test_midnights_of_a_time_zone_are_the_days_they_name(tmp_path: Path) -> None:
    # As yfinance gives them: five hours apart from UTC in winter, four in summer.
    days = pd.date_range("2024-03-08", periods=4, tz="America/New_York")
    expected = [day.tz_localize(None) for day in days]
    text = "unique_id,ds,y\n" + "".join(f"a,{day},1\n" for day in days)
    for file in (csv(tmp_path, text), parquet(tmp_path, unique_id="a", ds=days, y=1.0)):
        frame, notes = read_dataset([file])
        assert frame["ds"].tolist() == expected
        assert notes == [f"{file.name}: midnights in a time zone were taken as dates."]


def test_hours_of_a_time_zone_become_utc_and_leave_no_gap(tmp_path: Path) -> None:
    hours = pd.date_range("2024-03-10", periods=4, freq="h", tz="America/New_York")
    frame, notes = read_dataset([parquet(tmp_path, unique_id="a", ds=hours, y=1.0)])
    assert frame["ds"].diff().dropna().unique().tolist() == [pd.Timedelta(hours=1)]
    assert notes == ["a.parquet: timestamps with a time zone were converted to UTC."]


def test_a_year_beyond_nanoseconds_is_refused(tmp_path: Path) -> None:
    later = np.array(["3024-01-01", "3024-01-02"], dtype="datetime64[us]")
    with pytest.raises(DatasetInvalid, match=r"column ds, row 1: expected a timestamp .* found '3024-01-01"):
        read_dataset([parquet(tmp_path, ds=later)])


@pytest.mark.parametrize("y", [pd.to_datetime(["2024-01-01"] * 2), pd.to_timedelta([1, 2], unit="D")])
def test_times_in_y_are_no_numbers(tmp_path: Path, y: object) -> None:
    with pytest.raises(DatasetInvalid, match="column y, row 1: expected a number"):
        read_dataset([parquet(tmp_path, y=y)])


def test_a_decimal_comma_is_named_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"row 1: expected as many fields as the header has.*inside numbers"):
        read_dataset([csv(tmp_path, "unique_id,ds,y,z\na,2024-01-01,1,5,7\na,2024-01-02,1,6,7\n")])


def test_spaces_after_commas_and_a_comma_at_the_end_do_no_harm(tmp_path: Path) -> None:
    frame, notes = read_dataset([csv(tmp_path, "unique_id, ds, y\na, 2024-01-01, 1,\na, 2024-01-02, 2,\n")])
    assert (frame["y"].tolist(), notes) == ([1.0, 2.0], [])


def test_a_parquet_index_of_pandas_counts_as_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"ds": ["2024-01-01"], "y": [1.0]}, index=pd.Index(["a"], name="unique_id")).to_parquet(path)
    assert read_dataset([DataFile("a.parquet", path, "0")])[0]["unique_id"].tolist() == ["a"]


def test_text_that_is_not_utf_8_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(GOOD.replace("a,", "ä,").encode("latin-1"))
    with pytest.raises(DatasetInvalid, match=r"a\.csv: expected CSV in UTF-8.*Save it as UTF-8"):
        read_dataset([DataFile("a.csv", path, "0")])


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1", "x", "True", "y"], r"column y, row 2: expected a number, found 'x' \(and 2 more rows\)"),
        (["True", "True"], r"column y, row 1: expected a number, found 'True' \(and 1 more rows\)"),
        (["inf", "1", "x"], r"column y, row 3: expected a number, found 'x'\."),
        (["1", "2", "3,5"], r"row 3: expected as many fields as the header has.*inside numbers"),
        (["1,5", "2", "3"], r"row 1: expected as many fields as the header has.*inside numbers"),
    ],
)
def test_faults_are_the_same_wherever_a_batch_ends(
    tmp_path: Path, batch_rows: int, rows: list[str], expected: str
) -> None:
    text = "unique_id,ds,y\n" + "".join(f"a,2024-01-{day:02},{y}\n" for day, y in enumerate(rows, start=1))
    with pytest.raises(DatasetInvalid, match=expected):
        read_dataset([csv(tmp_path, text)], batch_rows)


def test_a_wrong_timestamp_is_told_before_a_wrong_number_that_came_first(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"column ds, row 3"):
        read_dataset([csv(tmp_path, "unique_id,ds,y\na,2024-01-01,x\na,2024-01-02,1\na,never,1\n")], batch_rows=1)


def test_one_hour_that_is_no_midnight_makes_all_times_utc_however_late_it_comes(tmp_path: Path) -> None:
    text = (
        "unique_id,ds,y\na,2024-01-01T00:00:00+02:00,1\na,2024-01-02T00:00:00+02:00,2\na,2024-01-02T05:00:00+02:00,3\n"
    )
    frame, notes = read_dataset([csv(tmp_path, text)], batch_rows=1)
    assert frame["ds"].astype(str).tolist() == ["2023-12-31 22:00:00", "2024-01-01 22:00:00", "2024-01-02 03:00:00"]
    assert notes == ["a.csv: timestamps with a time zone were converted to UTC."]


def test_names_that_only_the_dictionary_of_a_file_holds_are_no_series(tmp_path: Path) -> None:
    names = pd.Categorical(["a", "a"], categories=["a", "unused"])
    assert read_dataset([parquet(tmp_path, unique_id=names)])[0]["unique_id"].tolist() == ["a", "a"]


@pytest.mark.parametrize("names", [[7, 7], pd.Categorical([7, 7])])
def test_numbers_serve_as_names(tmp_path: Path, names: object) -> None:
    assert read_dataset([parquet(tmp_path, unique_id=names)])[0]["unique_id"].tolist() == ["7", "7"]


def test_a_missing_name_in_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"column unique_id, row 2: expected a name, found 'None'"):
        read_dataset([parquet(tmp_path, unique_id=["a", None])])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_any_unit_are_read(tmp_path: Path, unit: str) -> None:
    times = np.array(["2024-01-01T00:00:01", "2024-01-02"], dtype=f"datetime64[{unit}]")
    assert (read_dataset([parquet(tmp_path, ds=times)])[0]["ds"] == times.astype("datetime64[ns]")).all()


def test_dates_of_parquet_are_read(tmp_path: Path) -> None:
    days = [date(2024, 1, 1), date(2024, 1, 2)]
    assert read_dataset([parquet(tmp_path, ds=days)])[0]["ds"].dt.date.tolist() == days


def test_a_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    names = ["unique_id", "ds", "y", "y"]
    pq.write_table(
        pa.Table.from_arrays([pa.array(["a"]), pa.array(["2024-01-01"]), pa.array([1.0]), pa.array([2.0])], names), path
    )
    with pytest.raises(DatasetInvalid, match="expected one column y, found several"):
        read_dataset([DataFile("a.parquet", path, "0")])
