"""Reading a data set: what is refused, with file, column and row, and what is put right."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contracts.reasons import DatasetInvalid
from instance.dataset import DataFile, data_sha256, read_dataset

GOOD = "unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\n"


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
    with pytest.raises(DatasetInvalid, match=r"^b\.csv: column ds, row 1:"):
        read_dataset([csv(tmp_path, "unique_id,ds,y\na,2024-01-01,1\n", "b.csv"), csv(tmp_path, GOOD)])


def test_sorts_and_says_so(tmp_path: Path) -> None:
    frame, notes = read_dataset([csv(tmp_path, "unique_id,ds,y\na,2024-01-02,2\na,2024-01-01,1\n")])
    assert frame["y"].tolist() == [1.0, 2.0]
    assert notes == ["Sorted by unique_id and ds: 2 of 2 rows were out of order."]


def test_missing_marks_are_nan_and_a_series_may_be_called_na(tmp_path: Path) -> None:
    frame, _ = read_dataset([csv(tmp_path, "unique_id,ds,y\nNA,2024-01-01,\nNA,2024-01-02,NaN\nNA,2024-01-03,3\n")])
    assert frame["unique_id"].unique().tolist() == ["NA"]
    assert np.isnan(frame["y"]).tolist() == [True, True, False]


def test_time_zones_become_utc(tmp_path: Path) -> None:
    frame, _ = read_dataset([csv(tmp_path, "unique_id,ds,y\na,2024-01-01T00:00:00+02:00,1\n")])
    assert frame["ds"].tolist() == [pd.Timestamp("2023-12-31 22:00:00")]


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
