"""The command scripts/make_datasets.py: files, table, errors, and that a run accepts what it writes. Runs anywhere."""

import hashlib
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contracts.documents import check
from instance.checksums import file_sha256
from instance.dataset import DataFile
from instance.ingest import ingest
from instance.series_store import series_of
from scripts import make_datasets
from scripts.dataset_sources import Source
from scripts.make_datasets import DATA_SETS, DataSet, UnknownDataSetError, load, main, make, write


def monthly_frame(rows: int = 60) -> pd.DataFrame:
    ds = pd.date_range("2000-01-01", periods=rows, freq="MS")
    y = np.sin(np.arange(rows) / 2) + 0.1
    return pd.concat([pd.DataFrame({"unique_id": name, "ds": ds, "y": y}) for name in ("a", "b")], ignore_index=True)


def as_the_instance_reads_it(path):
    with tempfile.TemporaryDirectory() as folder:
        files = [DataFile(path.name, path, file_sha256(path))]
        return series_of(ingest(files, check("run_request", {}), Path(folder) / "store", lambda _: None))


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """One small data set whose wheel is already in the downloads folder."""
    content = monthly_frame().to_csv(index=False).encode()
    source = Source("sample", "1.0", "sample/data.csv", hashlib.sha256(content).hexdigest())
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    with zipfile.ZipFile(downloads / "sample-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(source.member, content)
    sets = {"sample": DataSet("MS", "sample.csv", (source,), lambda text: monthly_frame())}
    monkeypatch.setattr(make_datasets, "DATA_SETS", sets)
    return ["--target", str(tmp_path / "out"), "--downloads", str(downloads)]


@pytest.mark.parametrize("file_name", ["data.parquet", "data.csv"])
def test_a_written_file_reads_back_equal_and_is_written_the_same_twice(tmp_path, file_name):
    first = write(monthly_frame(), tmp_path / "first" / file_name)
    second = write(monthly_frame(), tmp_path / "second" / file_name)

    pd.testing.assert_frame_equal(load(first), monthly_frame())
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("file_name", ["data.parquet", "data.csv"])
def test_a_written_file_is_accepted_by_the_instance_unchanged(tmp_path, file_name):
    series = as_the_instance_reads_it(write(monthly_frame(), tmp_path / file_name))

    assert series.ids == ["a", "b"]
    assert series.frequency.alias == "MS"
    assert all(mask.all() for mask in series.observed)
    np.testing.assert_allclose(series.values[0], monthly_frame()["y"][:60])


def test_make_raises_when_the_name_is_unknown(tmp_path):
    with pytest.raises(UnknownDataSetError, match=r"market-daily.*found weather"):
        make("weather", tmp_path)


def test_the_command_prints_one_line_per_data_set(sample, tmp_path, capsys):
    assert main([*sample, "sample"]) == 0

    line = capsys.readouterr().out.splitlines()[1].split()
    assert line == ["sample", "2", "120", "MS", "2000-01-01", "2004-12-01", "sample==1.0"]
    assert (tmp_path / "out" / "sample" / "sample.csv").is_file()


def test_the_command_makes_every_data_set_when_none_is_named(sample, tmp_path):
    assert main(sample) == 0

    assert (tmp_path / "out" / "sample" / "sample.csv").is_file()


def test_the_command_fails_with_one_sentence_when_a_name_is_unknown(capsys):
    assert main(["weather"]) == 1

    assert "found weather" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "series_count", "steps_without_a_row"),
    [("market-daily", 10, 350), ("temperature-hourly", 2, 2), ("seasonal-monthly", 18, 0)],
)
def test_a_run_accepts_the_real_data_set(tmp_path, name, series_count, steps_without_a_row):
    """Downloads the wheels unless build/downloads has them. The missing steps are holidays and a change of clocks."""
    series = as_the_instance_reads_it(make(name, tmp_path))

    assert series.frequency.alias == DATA_SETS[name].freq
    assert len(series.ids) == series_count
    assert sum(int((~mask).sum()) for mask in series.observed) == steps_without_a_row
