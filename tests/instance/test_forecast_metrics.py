"""Metrics against their formulas by hand and against utilsforecast."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from utilsforecast import losses

from instance.metrics import Sharpe, mae, mase, seasonal_naive_scale, sharpe, wql

LEVELS = np.array([0.1, 0.5, 0.9])


@pytest.fixture
def forecast() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    history, y = rng.normal(10, 2, size=48), rng.normal(10, 2, size=12)
    quantiles = np.sort(rng.normal(10, 2, size=(12, 3)), axis=-1)
    return history, y, quantiles[:, 1], quantiles


def long_frame(y: np.ndarray, point: np.ndarray, quantiles: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({"unique_id": "a", "ds": np.arange(48, 60), "y": y, "model": point})
    return frame.assign(q1=quantiles[:, 0], q5=quantiles[:, 1], q9=quantiles[:, 2])


def test_mae_by_hand() -> None:
    assert mae(np.array([1.0, 2.0, np.nan]), np.array([2.0, 4.0, 7.0])) == 1.5


def test_mae_agrees_with_utilsforecast(forecast: tuple[np.ndarray, ...]) -> None:
    _, y, point, quantiles = forecast
    theirs = losses.mae(long_frame(y, point, quantiles), models=["model"])["model"].item()
    assert mae(y, point) == pytest.approx(theirs)


def test_mase_by_hand() -> None:
    # lag 2: |3-1|, |5-2|, |1-3| -> 7/3; errors 1 and 3 -> 2; 2 / (7/3)
    scale = seasonal_naive_scale(np.array([1.0, 2.0, 3.0, 5.0, 1.0]), 2)
    assert scale == pytest.approx(7 / 3)
    assert mase(np.array([[2.0, 2.0]]), np.array([[3.0, 5.0]]), np.array([scale])) == pytest.approx(6 / 7)


def test_mase_agrees_with_utilsforecast(forecast: tuple[np.ndarray, ...]) -> None:
    history, y, point, quantiles = forecast
    train = pd.DataFrame({"unique_id": "a", "ds": np.arange(48), "y": history})
    theirs = losses.mase(long_frame(y, point, quantiles), models=["model"], seasonality=12, train_df=train)
    ours = mase(y[np.newaxis], point[np.newaxis], np.array([seasonal_naive_scale(history, 12)]))
    assert ours == pytest.approx(theirs["model"].item())


def test_mase_leaves_out_constant_histories_and_is_null_without_any_other() -> None:
    scale = np.array([seasonal_naive_scale(np.full(9, 4.0), 1), 2.0])
    y, point = np.zeros((2, 1)), np.array([[8.0], [6.0]])
    assert mase(y, point, scale) == 3.0
    assert mase(y[:1], point[:1], scale[:1]) is None


def test_a_history_shorter_than_a_season_is_scaled_at_lag_one() -> None:
    assert seasonal_naive_scale(np.array([1.0, 3.0, 2.0]), 12) == 1.5


def test_wql_by_hand() -> None:
    # pinball: level 0.1: 0.1*2; 0.5: 0.5*1; 0.9: 0.1*1 -> each times 2 / 4, mean of three
    y, quantiles = np.array([[4.0]]), np.array([[[2.0, 3.0, 5.0]]])
    assert wql(y, quantiles, LEVELS) == pytest.approx(2 * (0.2 + 0.5 + 0.1) / 4 / 3)


def test_wql_agrees_with_utilsforecast_scaled_crps(forecast: tuple[np.ndarray, ...]) -> None:
    _, y, point, quantiles = forecast
    frame = long_frame(y, point, quantiles)
    theirs = losses.scaled_crps(frame, models={"model": ["q1", "q5", "q9"]}, quantiles=LEVELS)["model"].item()
    assert wql(y, quantiles, LEVELS) == pytest.approx(theirs)


def test_wql_at_the_median_is_mae_over_mean_size(forecast: tuple[np.ndarray, ...]) -> None:
    _, y, point, _ = forecast
    assert wql(y, point[:, np.newaxis], np.array([0.5])) == pytest.approx(np.abs(y - point).sum() / np.abs(y).sum())


def test_wql_skips_what_was_not_observed_and_is_null_for_zeros() -> None:
    quantiles = np.array([[[2.0, 3.0, 5.0], [9.0, 9.0, 9.0]]])
    assert wql(np.array([[4.0, np.nan]]), quantiles, LEVELS) == wql(np.array([[4.0]]), quantiles[:, :1], LEVELS)
    assert wql(np.zeros((1, 2)), quantiles, LEVELS) is None


def traded(
    prices: list[float], point: list[float], cost: float = 0.0, observed: list[bool] | None = None, horizon: int = 2
) -> Sharpe:
    """The ratio of one series: prices[0] is the last known value, the rest are cut into windows of `horizon`."""
    y = np.array(prices[1:]).reshape(-1, 1, horizon)
    times = np.arange(y.size).astype("datetime64[D]").reshape(y.shape)
    seen = np.ones(y.shape, bool) if observed is None else np.array(observed).reshape(y.shape)
    forecasts = np.array(point).reshape(y.shape)
    return sharpe(np.array(prices[:1]), y, forecasts, times, seen, transaction_cost_bps=cost, periods_per_year=252.0)


def by_hand(returns: list[float]) -> tuple[float, float]:
    ratio = np.mean(returns) / np.std(returns, ddof=1)
    return ratio * np.sqrt(252), np.sqrt((1 + ratio**2 / 2) / len(returns)) * np.sqrt(252)


def test_sharpe_by_hand_with_costs_and_windows() -> None:
    prices = [100.0, 102.0, 101.0, 103.0, 104.0]
    # window 1 starts at 100: up, then down. Window 2 starts at 101: up, up.
    found = traded(prices, [101.0, 100.5, 102.0, 102.5], cost=10)
    gross = [now / before - 1 for before, now in pairwise(prices)]
    positions, turnover = [1, -1, 1, 1], [1, 2, 2, 0]
    net = [s * r - 0.001 * t for s, r, t in zip(positions, gross, turnover, strict=True)]
    assert (found.ratio, found.standard_error) == pytest.approx(by_hand(net))


def test_sharpe_keeps_the_position_over_a_holiday() -> None:
    prices = [100.0, 102.0, 102.0, 105.0, 104.0]
    found = traded(prices, [101.0, 90.0, 103.0, 105.0], cost=10, observed=[True, False, True, True])
    returns = [0.02 - 0.001, 0.0, 105 / 102 - 1, 104 / 105 - 1]
    assert (found.ratio, found.standard_error) == pytest.approx(by_hand(returns))


def test_sharpe_averages_over_series_with_the_same_timestamp() -> None:
    y = np.array([[[110.0, 99.0], [100.0, 120.0]]])
    times = np.array([[[0, 1], [1, 2]]]).astype("datetime64[D]")
    seen = np.ones(y.shape, bool)
    found = sharpe(np.full(2, 100.0), y, y, times, seen, transaction_cost_bps=0, periods_per_year=252.0)
    # Perfect foresight: +10 % and +10 % (short); 0 (flat) and +20 %.
    assert found.ratio == pytest.approx(by_hand([0.1, (0.1 + 0.0) / 2, 0.2])[0])


@pytest.mark.parametrize(
    ("prices", "point"),
    [
        ([100.0, -1.0, 5.0], [101.0, 102.0]),
        ([100.0, 0.0, 5.0], [101.0, 102.0]),
        ([100.0, 100.0, 100.0], [101.0, 102.0]),
    ],
)
def test_sharpe_is_null_where_it_is_not_defined(prices: list[float], point: list[float]) -> None:
    assert traded(prices, point) == Sharpe(None, None)


def test_sharpe_needs_two_returns() -> None:
    assert traded([100.0, 101.0], [102.0], horizon=1) == Sharpe(None, None)


@given(st.lists(st.floats(1, 1000), min_size=5, max_size=5), st.floats(0.01, 100))
def test_sharpe_does_not_depend_on_the_currency(prices: list[float], rate: float) -> None:
    point = [p * 1.01 for p in prices[1:]]
    one = traded(prices, point)
    other = traded([p * rate for p in prices], [p * rate for p in point])
    if one.ratio is not None and other.ratio is not None and abs(one.ratio) < 1e6:
        assert one.ratio == pytest.approx(other.ratio, rel=1e-3, abs=1e-6)


def test_wql_is_null_when_it_is_beyond_a_float() -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        assert wql(np.full((1, 2), 1e308), np.full((1, 2, 1), -1e308), np.array([0.5])) is None
