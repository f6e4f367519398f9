"""Regular series out of rows: gaps, NaNs, short series, frequencies."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contracts.documents import check
from contracts.reasons import DatasetInvalid
from instance.dataset import DataFile
from instance.ingest import ingest
from instance.series import SeriesSet
from instance.series_store import StoreInfo, series_of


def rows(name: str, times: Any, y: Any) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": name, "ds": pd.DatetimeIndex(times).astype("datetime64[ns]"), "y": y})


@dataclass(frozen=True)
class Built:
    series: SeriesSet
    info: StoreInfo

    def __getattr__(self, name: str) -> Any:
        return getattr(self.series, name)


def build(*parts: pd.DataFrame, **request: Any) -> Built:
    """Series out of rows, through a file and a store."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        pd.concat(parts, ignore_index=True).to_parquet(path)
        wanted = check("run_request", {"n_windows": 1, **request})
        store = ingest([DataFile("a.parquet", path, "0")], wanted, Path(folder) / "store", lambda rows: None)
        return Built(series_of(store), store.info)


def test_holidays_take_the_value_before_and_are_not_observed() -> None:
    days = pd.date_range("2024-01-01", periods=40, freq="B").delete([10, 11])
    series = build(rows("a", days, np.arange(38.0)))
    assert series.frequency.alias == "B"
    assert series.values[0][9:13].tolist() == [9.0, 9.0, 9.0, 10.0]
    assert series.observed[0][9:13].tolist() == [True, False, False, True]
    assert series.info.notes == ["2 holidays filled with the value before, in 1 of 1 series."]
    assert series.info.rows == 38


def test_interior_nans_are_filled_and_leading_ones_dropped() -> None:
    y = np.arange(30.0)
    y[[0, 1, 12]] = np.nan
    series = build(rows("a", pd.date_range("2024-01-01", periods=30, freq="h"), y), prediction_length=4)
    assert series.first[0] == np.datetime64("2024-01-01T02:00")
    assert series.values[0][9:12].tolist() == [11.0, 11.0, 13.0]
    assert series.info.notes == [
        "2 leading values without a number dropped, in 1 of 1 series.",
        "1 values without a number filled with the value before, in 1 of 1 series.",
    ]


def test_unusable_series_are_left_out_and_named() -> None:
    days = pd.date_range("2024-01-01", periods=40, freq="D")
    series = build(
        rows("good", days, np.arange(40.0)),
        rows("none", days, np.full(40, np.nan)),
        rows("one", days[:1], [1.0]),
        rows("short", days[:10], np.arange(10.0)),
    )
    assert series.ids == ["good"]
    assert "1 series without any number left out: none." in series.info.notes
    assert "2 series shorter than 19 steps left out: one, short." in series.info.notes


def test_refuses_when_no_series_is_long_enough() -> None:
    with pytest.raises(DatasetInvalid, match=r"expected at least one series with 19 observations"):
        build(rows("a", pd.date_range("2024-01-01", periods=18, freq="D"), np.arange(18.0)))


def test_refuses_one_point_series_only() -> None:
    with pytest.raises(DatasetInvalid, match="irregular ones or too few"):
        build(rows("a", ["2024-01-01"], [1.0]), rows("b", ["2024-01-01"], [1.0]))


def test_refuses_mixed_frequencies_naming_the_series() -> None:
    with pytest.raises(DatasetInvalid, match="series weekly: expected the frequency D of the other series, found W"):
        build(
            rows("a", pd.date_range("2024-01-01", periods=40, freq="D"), np.arange(40.0)),
            rows("b", pd.date_range("2024-01-01", periods=40, freq="D"), np.arange(40.0)),
            rows("weekly", pd.date_range("2024-01-01", periods=40, freq="W"), np.arange(40.0)),
        )


def test_refuses_timestamps_off_the_grid() -> None:
    times = pd.date_range("2024-01-01", periods=40, freq="h").to_series().reset_index(drop=True)
    times[7] += pd.Timedelta(minutes=20)
    with pytest.raises(DatasetInvalid, match=r"series a: expected steps of h .* found 2024-01-01T07:20"):
        build(rows("a", times, np.arange(40.0)))


def test_refuses_too_many_missing_timestamps() -> None:
    days = pd.date_range("2024-01-01", periods=60, freq="D").delete(range(20, 27))
    with pytest.raises(DatasetInvalid, match="expected at most 10% missing timestamps at frequency D, found 7 of 60"):
        build(rows("a", days, np.arange(53.0)))


def test_a_short_week_counts_as_business_days_among_business_days() -> None:
    days = pd.date_range("2024-01-01", periods=40, freq="B")
    series = build(rows("a", days, np.arange(40.0)), rows("b", days, np.arange(40.0)), rows("c", days[:5], np.ones(5)))
    assert series.frequency.alias == "B"
    assert series.ids == ["a", "b"]


def test_the_request_overrules_what_would_be_inferred() -> None:
    days = pd.date_range("2024-01-01", periods=60, freq="B")
    series = build(rows("a", days, np.arange(60.0)), season_length=3, prediction_length=9)
    assert (series.season_length, series.prediction_length) == (3, 9)
    with pytest.raises(DatasetInvalid, match="missing timestamps at frequency D"):
        build(rows("a", days, np.arange(60.0)), freq="D")


def test_times_continue_beyond_the_data() -> None:
    series = build(rows("a", pd.date_range("2024-01-31", periods=40, freq="ME"), np.arange(40.0)))
    assert series.times(0, 39, 42).astype("datetime64[D]").astype(str).tolist() == [
        "2027-04-30",
        "2027-05-31",
        "2027-06-30",
    ]


def test_refuses_a_forecast_beyond_what_timestamps_hold() -> None:
    years = pd.date_range("2150-01-01", periods=80, freq="YS")
    with pytest.raises(DatasetInvalid, match="series a: expected a forecast that ends before the year 2262"):
        build(rows("a", years, np.arange(80.0)), prediction_length=70)


def test_a_short_series_with_holes_is_left_out_and_refuses_nothing() -> None:
    days = pd.date_range("2024-01-01", periods=40, freq="D")
    series = build(rows("good", days, np.arange(40.0)), rows("bad", days[[0, 9]], [1.0, 2.0]))
    assert series.ids == ["good"]
    assert "1 series shorter than 19 steps left out: bad." in series.info.notes


def test_a_data_set_without_any_number_is_refused_for_that_reason() -> None:
    days = pd.date_range("2024-01-01", periods=40, freq="D")
    with pytest.raises(DatasetInvalid, match=r"1 series without any number left out: a\."):
        build(rows("a", days, np.full(40, np.nan)))
