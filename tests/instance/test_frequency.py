"""Frequencies: what is inferred, and that positions and timestamps are each other's inverse."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.frequency import CHOICES, Frequency, infer


def stamps(start: str, periods: int, freq: str) -> np.ndarray:
    return pd.date_range(start, periods=periods, freq=freq).to_numpy(dtype="datetime64[ns]")


@pytest.mark.parametrize("alias", CHOICES)
def test_infers_each_frequency_that_a_request_may_name(alias: str) -> None:
    assert infer(stamps("2021-01-04 00:00", 40, alias)) == alias


def test_holidays_do_not_hide_business_days() -> None:
    days = stamps("2024-01-01", 260, "B")
    without_holidays = np.delete(days, [0, 14, 34, 63, 104, 130, 184, 238])
    assert infer(without_holidays) == "B"


def test_a_missing_month_does_not_hide_months() -> None:
    assert infer(np.delete(stamps("2020-01-01", 30, "MS"), [7, 19])) == "MS"


def test_weekends_make_daily_data_daily() -> None:
    assert infer(stamps("2024-01-01", 30, "D")) == "D"


@pytest.mark.parametrize("times", [[], ["2024-01-01"], ["2024-01-01", "2024-01-04", "2024-01-31", "2024-03-17"]])
def test_infers_nothing_from_too_few_or_irregular_timestamps(times: list[str]) -> None:
    assert infer(np.array(times, dtype="datetime64[ns]")) is None


@given(
    alias=st.sampled_from(CHOICES),
    start=st.sampled_from(["2020-01-01", "2019-06-15 09:30", "2024-02-29", "1999-12-31 16:00"]),
    skip=st.lists(st.integers(0, 200), min_size=1, max_size=20),
)
def test_positions_are_the_inverse_of_times(alias: str, start: str, skip: list[int]) -> None:
    first = stamps(start, 1, alias)[0]
    positions = np.array(sorted(set(skip)))
    times = Frequency(alias).times(first, positions)
    found, aligned = Frequency(alias).positions(times, np.full(len(times), first))
    assert aligned.all()
    assert found.tolist() == positions.tolist()


@pytest.mark.parametrize("alias", CHOICES)
def test_times_agree_with_pandas(alias: str) -> None:
    expected = stamps("2023-01-02 00:00", 50, alias)
    assert (Frequency(alias).times(expected[0], np.arange(50)) == expected).all()


@pytest.mark.parametrize("alias", ["W", "B", "YE"])
def test_timestamps_beyond_the_year_2262_are_refused(alias: str) -> None:
    with pytest.raises(OverflowError, match="2262-04-10"):
        Frequency(alias).times(stamps("2024-01-01", 1, alias)[0], np.array([100_000]))


def test_off_grid_timestamps_are_not_aligned() -> None:
    first = np.datetime64("2024-01-01T00:00", "ns")
    times = np.array(["2024-01-01T01:00", "2024-01-01T02:30"], dtype="datetime64[ns]")
    _, aligned = Frequency("h").positions(times, np.full(2, first))
    assert aligned.tolist() == [True, False]


@pytest.mark.parametrize(
    ("alias", "season", "horizon"),
    [
        ("h", 24, 24),
        ("D", 7, 14),
        ("B", 5, 5),
        ("W", 52, 52),
        ("MS", 12, 12),
        ("QE", 4, 4),
        ("YS", 1, 1),
        ("min", 1, 1),
    ],
)
def test_defaults_are_those_of_the_request_schema(alias: str, season: int, horizon: int) -> None:
    assert (Frequency(alias).season_length, Frequency(alias).prediction_length) == (season, horizon)


def test_steps_below_a_second_are_no_days() -> None:
    assert infer(stamps("2024-01-01", 40, "100ms")) is None
