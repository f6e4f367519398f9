"""Turn the files of public packages into Nixtla's long format, in memory. Runs on a developer's computer."""

import io

import pandas as pd

COLUMNS = ["unique_id", "ds", "y"]

SHARES = ["AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO"]
SHARE_ROWS = 1000
CITIES = ["Houston", "Dallas", "Austin", "San Antonio", "Collin County", "Fort Bend", "Fort Worth", "El Paso"]
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


def long_format(wide: pd.DataFrame) -> pd.DataFrame:
    """Turn one column per series into Nixtla's long format.

    Nothing is filled in: how a run treats a missing step is the instance's decision, and it must be able to see it.

    Parameters
    ----------
    wide : pandas.DataFrame, shape (timestamps, series)
        Indexed by timestamp; the column names become `unique_id`. A missing value gets no row.

    Returns
    -------
    pandas.DataFrame
        Columns `unique_id` (str), `ds` (datetime64[ns]) and `y` (float64), sorted by the first two.
    """
    pieces = []
    for name in sorted(wide.columns):
        series = wide[name].dropna().sort_index().astype("float64")
        pieces.append(pd.DataFrame({"unique_id": name, "ds": series.index, "y": series.to_numpy()}))
    return pd.concat(pieces, ignore_index=True)[COLUMNS]


def market_daily(prices_csv: bytes) -> pd.DataFrame:
    """Convert gzipped daily closing prices, one column per share, to the last 1000 trading days of ten shares.

    The ten are the first in the file's alphabetical order, not a choice by how well they can be forecast.
    """
    prices = pd.read_csv(io.BytesIO(prices_csv), compression="gzip", index_col="Date", parse_dates=["Date"])
    return long_format(prices[SHARES].tail(SHARE_ROWS))


def temperature_hourly(seattle_csv: bytes, san_francisco_csv: bytes) -> pd.DataFrame:
    """Convert hourly temperatures in degrees Fahrenheit of two cities.

    Their clocks are local: an hour given twice, as at the change to winter time, keeps the mean of its two values.
    """
    cities = {"temperature-seattle": seattle_csv, "temperature-san-francisco": san_francisco_csv}
    hourly = {name: _mean_by_hour(pd.read_csv(io.BytesIO(text), parse_dates=["date"])) for name, text in cities.items()}
    return long_format(pd.DataFrame(hourly))


def _mean_by_hour(frame: pd.DataFrame) -> pd.Series:
    return frame.groupby("date")["temp"].mean()


def seasonal_monthly(
    meat_csv: bytes, housing_csv: bytes, el_nino_csv: bytes, co2_csv: bytes, equipment_csv: bytes
) -> pd.DataFrame:
    """Convert five monthly sources to one set: meat production, home sales, sea temperature, CO2, factory turnover."""
    parts = [
        meat_production(meat_csv),
        home_sales(housing_csv),
        sea_temperature(el_nino_csv),
        carbon_dioxide(co2_csv),
        equipment_turnover(equipment_csv),
    ]
    return pd.concat(parts).sort_values(["unique_id", "ds"], ignore_index=True)


def meat_production(text: bytes) -> pd.DataFrame:
    """Convert US meat production, millions of pounds a month, one column per kind of meat."""
    meat = pd.read_csv(io.BytesIO(text), index_col="date", parse_dates=["date"])
    return long_format(meat.rename(columns=lambda kind: f"us-meat-{kind.replace('_', '-')}"))


def home_sales(text: bytes) -> pd.DataFrame:
    """Convert the number of homes sold a month in eight Texan areas with complete records."""
    sales = pd.read_csv(io.BytesIO(text))
    sales = sales[sales["city"].isin(CITIES)]
    sales = sales.assign(ds=pd.to_datetime(sales[["year", "month"]].assign(day=1)))
    wide = sales.pivot_table(index="ds", columns="city", values="sales")
    return long_format(wide.rename(columns=lambda city: f"texas-homes-{city.lower().replace(' ', '-')}"))


def sea_temperature(text: bytes) -> pd.DataFrame:
    """Convert the sea surface temperature off Peru in degrees Celsius, one row per year, one column per month."""
    years = pd.read_csv(io.BytesIO(text), index_col="YEAR")
    start = pd.Timestamp(int(years.index[0]), 1, 1)
    index = pd.date_range(start, periods=years.size, freq="MS")
    return long_format(pd.DataFrame({"sea-temperature-nino-1-2": years[MONTHS].to_numpy().ravel()}, index=index))


def carbon_dioxide(text: bytes) -> pd.DataFrame:
    """Convert weekly CO2 at Mauna Loa in ppm to monthly means, from the month after the last one with no record."""
    weekly = pd.read_csv(io.BytesIO(text), index_col="date", parse_dates=["date"])
    monthly = weekly["co2"].resample("MS").mean()
    empty = monthly.index[monthly.isna()]
    whole = monthly.loc[empty[-1] :].iloc[1:] if len(empty) else monthly
    return long_format(whole.to_frame("co2-mauna-loa"))


def equipment_turnover(text: bytes) -> pd.DataFrame:
    """Convert the turnover index of electrical equipment makers in the euro area, not seasonally adjusted."""
    turnover = pd.read_csv(io.BytesIO(text), index_col="DATE")
    turnover.index = pd.to_datetime(turnover.index, format="%b-%d-%Y")
    turnover.columns = ["euro-area-electrical-equipment"]
    return long_format(turnover)
