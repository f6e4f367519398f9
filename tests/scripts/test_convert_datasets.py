"""The conversions of scripts/convert_datasets.py on small inputs. Runs anywhere."""

import gzip

import numpy as np
import pandas as pd
import pytest

from scripts import convert_datasets as convert


def csv(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def test_long_format_sorts_by_series_and_time_and_gives_missing_values_no_row():
    index = pd.to_datetime(["2020-02-01", "2020-01-01", "2020-03-01"])
    wide = pd.DataFrame({"b": [2, 1, 3], "a": [np.nan, 5.0, 6.0]}, index=index)

    frame = convert.long_format(wide)

    assert list(frame.columns) == ["unique_id", "ds", "y"]
    assert list(frame["unique_id"]) == ["a", "a", "b", "b", "b"]
    assert list(frame["y"]) == [5.0, 6.0, 1.0, 2.0, 3.0]
    assert list(frame["ds"].dt.month) == [1, 3, 1, 2, 3]
    assert frame.dtypes.astype(str).to_dict()["ds"] == "datetime64[ns]"
    assert frame.dtypes.astype(str).to_dict()["y"] == "float64"


def test_market_daily_keeps_the_last_1000_trading_days_and_invents_no_holiday():
    days = pd.bdate_range("2015-01-01", periods=1200).delete([1100])
    prices = pd.DataFrame({share: np.arange(len(days)) + 1.0 for share in [*convert.SHARES, "XOM"]}, index=days)
    prices.index.name = "Date"

    frame = convert.market_daily(gzip.compress(prices.to_csv().encode()))

    assert sorted(frame["unique_id"].unique()) == sorted(convert.SHARES)
    assert set(frame.groupby("unique_id").size()) == {1000}
    assert pd.bdate_range("2015-01-01", periods=1200)[1100] not in set(frame["ds"])
    assert frame["ds"].max() == days[-1]
    assert frame.groupby("unique_id")["y"].last().eq(1199.0).all()


def test_temperature_hourly_averages_the_hour_that_winter_time_repeats():
    seattle = csv("date,temp", "2010/11/07 00:00,40", "2010/11/07 01:00,41", "2010/11/07 01:00,43")
    san_francisco = csv("temp,date", "50,2010/11/07 00:00:00", "51,2010/11/07 01:00:00", "52,2010/11/07 02:00:00")

    frame = convert.temperature_hourly(seattle, san_francisco)

    by_name = {name: list(group["y"]) for name, group in frame.groupby("unique_id")}
    assert by_name == {"temperature-seattle": [40.0, 42.0], "temperature-san-francisco": [50.0, 51.0, 52.0]}


def test_meat_production_begins_each_series_with_its_first_value():
    frame = convert.meat_production(csv("date,beef,other_chicken", "1944-01-01,751.0,", "1944-02-01,713.0,44.5"))

    assert frame.groupby("unique_id").size().to_dict() == {"us-meat-beef": 2, "us-meat-other-chicken": 1}


def test_home_sales_takes_the_named_cities_and_builds_months():
    frame = convert.home_sales(
        csv("city,year,month,sales,volume", "El Paso,2000,1,72,1", "El Paso,2000,2,98,1", "Abilene,2000,1,5,1")
    )

    assert list(frame["unique_id"].unique()) == ["texas-homes-el-paso"]
    assert list(frame["ds"]) == [pd.Timestamp("2000-01-01"), pd.Timestamp("2000-02-01")]
    assert list(frame["y"]) == [72.0, 98.0]


def test_sea_temperature_reads_years_across():
    header = "YEAR," + ",".join(convert.MONTHS)
    rows = [f"{year}," + ",".join(str(year + month / 100) for month in range(12)) for year in (1950, 1951)]

    frame = convert.sea_temperature(csv(header, *rows))

    assert len(frame) == 24
    assert frame["ds"].iloc[0] == pd.Timestamp("1950-01-01")
    assert frame.set_index("ds")["y"][pd.Timestamp("1951-03-01")] == pytest.approx(1951.02)


def test_carbon_dioxide_averages_weeks_and_begins_after_the_last_empty_month():
    frame = convert.carbon_dioxide(
        csv("date,co2", "19580329,316", "19580405,", "19580503,318", "19580510,320", "19580607,317")
    )

    assert list(frame["ds"]) == [pd.Timestamp("1958-05-01"), pd.Timestamp("1958-06-01")]
    assert list(frame["y"]) == [319.0, 317.0]


def test_carbon_dioxide_without_an_empty_month_keeps_every_month():
    frame = convert.carbon_dioxide(csv("date,co2", "19580329,316", "19580405,318"))

    assert list(frame["y"]) == [316.0, 318.0]


def test_equipment_turnover_parses_month_names():
    frame = convert.equipment_turnover(csv("DATE,STS.M.I7", "Jan-1-1995,66.19", "Feb-1-1995,65.15"))

    assert list(frame["ds"]) == [pd.Timestamp("1995-01-01"), pd.Timestamp("1995-02-01")]
    assert set(frame["unique_id"]) == {"euro-area-electrical-equipment"}
