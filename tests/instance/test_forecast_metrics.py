"""Metrics against their formulas by hand and against utilsforecast, SciPy and empyrical."""

from itertools import pairwise

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import crosstab
from utilsforecast import losses

from instance.actuals import Actuals
from instance.metrics import metrics
from instance.scores import score_chunk
from instance.seasonal_scale import seasonal_naive_scales
from instance.sharpe import PortfolioReturns, Sharpe, portfolio_returns, sharpe

LEVELS = [0.1, 0.5, 0.9]
ALL = ["mae", "rmse", "mase", "wql", "coverage", "direction_accuracy"]
SEASON = 6
N_SERIES, LENGTH, HORIZON = 4, 48, 12


def truth(y: np.ndarray, last: np.ndarray, scale: np.ndarray) -> Actuals:
    """What came, of y (n_windows, n_series, horizon) with NaN where nothing was observed."""
    times = np.zeros(y.shape, dtype="datetime64[ns]") + np.arange(y.shape[2]).astype("timedelta64[D]")
    cutoffs = np.zeros(y.shape[:2], dtype="datetime64[ns]")
    return Actuals(y, np.nan_to_num(y), ~np.isnan(y), times, cutoffs, last, scale)


def scored(
    y: list[float], point: list[float], quantiles: list[list[float]] | None = None, *, last: float = 0, scale: float = 1
) -> dict[str, float | None]:
    """Metrics of one window of one series."""
    what = truth(np.array(y, float).reshape(1, 1, -1), np.array([float(last)]), np.array([[float(scale)]]))
    given_quantiles = np.array([[value] * 3 for value in point] if quantiles is None else quantiles, float)
    scores = score_chunk(what, np.array(point, float).reshape(1, 1, -1), given_quantiles[None, None], LEVELS)
    return metrics(scores, ALL, 1.0)


class Panel:
    """Random series, forecasts of them, and both as utilsforecast wants them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.history = rng.normal(10, 2, size=(N_SERIES, LENGTH))
        self.y = rng.normal(10, 2, size=(N_SERIES, HORIZON))
        self.quantiles = np.sort(rng.normal(10, 2, size=(N_SERIES, HORIZON, 3)), axis=-1)
        self.point = self.quantiles[..., 1]
        scale = seasonal_naive_scales(list(self.history), np.full((1, N_SERIES), LENGTH), SEASON)
        what = truth(self.y[np.newaxis], self.history[:, -1], scale)
        self.ours = metrics(score_chunk(what, self.point[None], self.quantiles[None], LEVELS), ALL, 1.0)

    def frame(self, ids: list[str]) -> pd.DataFrame:
        steps = np.tile(np.arange(LENGTH, LENGTH + HORIZON), N_SERIES)
        frame = pd.DataFrame({"unique_id": np.repeat(ids, HORIZON), "ds": steps, "y": self.y.ravel()})
        named = zip(["model-lo-80", "model", "model-hi-80"], np.moveaxis(self.quantiles, -1, 0), strict=True)
        return frame.assign(**{name: values.ravel() for name, values in named})

    @property
    def train(self) -> pd.DataFrame:
        ids, steps = np.repeat(list("abcd"), LENGTH), np.tile(np.arange(LENGTH), N_SERIES)
        return pd.DataFrame({"unique_id": ids, "ds": steps, "y": self.history.ravel()})


@pytest.fixture(scope="module")
def panel() -> Panel:
    return Panel()


# One id for all series: utilsforecast then takes the same sums over all of them as we do.
POOLED = ["all"] * N_SERIES


@pytest.mark.parametrize(("name", "theirs"), [("mae", losses.mae), ("rmse", losses.rmse)])
def test_mae_and_rmse_agree_with_utilsforecast(panel, name, theirs):
    assert panel.ours[name] == pytest.approx(theirs(panel.frame(POOLED), models=["model"])["model"].item(), rel=1e-12)


def test_mase_agrees_with_utilsforecast(panel):
    theirs = losses.mase(panel.frame(list("abcd")), models=["model"], seasonality=SEASON, train_df=panel.train)
    assert panel.ours["mase"] == pytest.approx(theirs["model"].mean(), rel=1e-12)


def test_wql_agrees_with_utilsforecast_scaled_crps(panel):
    columns = ["model-lo-80", "model", "model-hi-80"]
    theirs = losses.scaled_crps(panel.frame(POOLED), models={"model": columns}, quantiles=np.array(LEVELS))
    assert panel.ours["wql"] == pytest.approx(theirs["model"].item(), rel=1e-12)


def test_interval_coverage_agrees_with_utilsforecast(panel):
    theirs = losses.coverage(panel.frame(POOLED), models=["model"], level=80)["model"].item()
    assert 0 < theirs < 1
    assert (panel.ours["interval_coverage"], panel.ours["interval_level"]) == (pytest.approx(theirs), 0.8)


def test_direction_accuracy_agrees_with_the_contingency_table_of_scipy(panel):
    last = panel.history[:, -1:]
    (rows, columns), table = crosstab((panel.y > last).ravel(), (panel.point > last).ravel())
    assert rows.tolist() == columns.tolist() == [False, True]
    assert panel.ours["direction_accuracy"] == pytest.approx(np.trace(table) / table.sum(), rel=1e-12)


def test_mae_and_rmse_by_hand():
    found = scored([1.0, 2.0, np.nan], [2.0, 5.0, 7.0])
    assert (found["mae"], found["rmse"]) == (2.0, pytest.approx(np.sqrt(5)))


def test_mase_by_hand():
    # lag 2: |3-1|, |5-2|, |1-3| -> 7/3; errors 1 and 3 -> 2; 2 / (7/3)
    scale = seasonal_naive_scales([np.array([1.0, 2.0, 3.0, 5.0, 1.0])], np.array([[5]]), 2).item()
    assert scale == pytest.approx(7 / 3)
    assert scored([2.0, 2.0], [3.0, 5.0], scale=scale)["mase"] == pytest.approx(6 / 7)


def test_mase_leaves_out_undefined_scales_and_is_null_without_any_other():
    y, point = np.zeros((1, 2, 1)), np.array([[[8.0], [6.0]]])
    scale = np.array([[np.nan, 2.0]])
    both = score_chunk(truth(y, np.zeros(2), scale), point, point[..., np.newaxis], [0.5])
    assert metrics(both, ["mase"], 1.0) == {"mase": 3.0}
    assert scored([2.0], [3.0], scale=np.nan)["mase"] is None


def test_wql_by_hand():
    # pinball: level 0.1: 0.1*2; 0.5: 0.5*1; 0.9: 0.1*1 -> each times 2 / 4, mean of three
    assert scored([4.0], [3.0], [[2.0, 3.0, 5.0]])["wql"] == pytest.approx(2 * (0.2 + 0.5 + 0.1) / 4 / 3)


def test_wql_skips_what_was_not_observed_and_is_null_for_zeros():
    one = scored([4.0, np.nan], [3.0, 9.0], [[2.0, 3.0, 5.0], [9.0, 9.0, 9.0]])["wql"]
    assert one == scored([4.0], [3.0], [[2.0, 3.0, 5.0]])["wql"]
    assert scored([0.0, 0.0], [1.0, 2.0])["wql"] is None


def test_metrics_beyond_a_float_are_null():
    found = scored([1e308, 1e308], [-1e308, -1e308])
    assert [found["mae"], found["rmse"], found["wql"]] == [None, None, None]


@given(st.integers(0, 2**32 - 1))
def test_sorting_crossed_quantiles_never_makes_wql_worse(seed):
    # The rearrangement of Chernozhukov, Fernandez-Val and Galichon (2010).
    rng = np.random.default_rng(seed)
    y, crossed = rng.normal(size=5), rng.normal(size=(5, 3))
    before, after = (scored(list(y), list(y), quantiles)["wql"] for quantiles in (crossed, np.sort(crossed, axis=-1)))
    assert after <= before + 1e-12


def test_crossed_quantiles_are_scored_as_they_are_and_cover_nothing():
    crossed, upright = (scored([4.0], [4.0], [quantiles]) for quantiles in ([5.0, 4.0, 3.0], [3.0, 4.0, 5.0]))
    assert (crossed["interval_coverage"], upright["interval_coverage"]) == (0.0, 1.0)
    assert crossed["wql"] > upright["wql"]


def test_interval_coverage_counts_the_borders_and_not_what_was_not_observed():
    # What was not observed is filled with 0, inside the interval.
    found = scored([-2.0, 1.0, 2.0, np.nan], [0.0] * 4, [[-2.0, 0.0, 1.0]] * 4)
    assert found["interval_coverage"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("levels", "level", "coverage"),
    [
        ([0.5], None, None),
        ([0.1, 0.5, 0.8], None, None),
        ([0.3, 0.7, 0.95], 0.4, 0.0),
        ([0.9, 0.4, 0.1], 0.8, 1.0),
        ([0.025, 0.5, 0.975], 0.95, 0.0),
    ],
)
def test_the_interval_is_the_outermost_symmetric_pair_in_any_order(levels, level, coverage):
    what = truth(np.full((1, 1, 1), 4.0), np.zeros(1), np.ones((1, 1)))
    quantiles = np.array([5.0, 9.0, 3.0][: len(levels)])[None, None, None]
    found = metrics(score_chunk(what, np.full((1, 1, 1), 4.0), quantiles, levels), ["coverage"], 1.0)
    assert found == {"interval_coverage": coverage, "interval_level": level}


def test_direction_accuracy_by_hand_with_ties_and_gaps():
    #        up hit, up missed, flat forecast missed, no move, not observed
    found = scored([12.0, 12.0, 12.0, 10.0, np.nan], [11.0, 9.0, 10.0, 12.0, 12.0], last=10)
    assert found["direction_accuracy"] == pytest.approx(1 / 3)
    assert scored([10.0, 10.0], [11.0, 9.0], last=10)["direction_accuracy"] is None


def test_direction_is_seen_from_the_cutoff_of_each_window():
    y = np.array([[[20.0, 30.0]], [[25.0, 35.0]]])
    what = truth(y, np.array([10.0]), np.ones((2, 1)))
    # From 10: both up. From 30: down, up; forecasts say down twice.
    point = np.array([[[11.0, 11.0]], [[29.0, 29.0]]])
    found = metrics(score_chunk(what, point, point[..., np.newaxis], [0.5]), ["direction_accuracy"], 1.0)
    assert found == {"direction_accuracy": 0.75}


def test_only_what_was_asked_for_is_given():
    what = truth(np.ones((1, 1, 2)), np.zeros(1), np.ones((1, 1)))
    scores = score_chunk(what, np.ones((1, 1, 2)), np.ones((1, 1, 2, 1)), [0.5])
    assert metrics(scores, ["wql"], 1.0) == {"wql": 0.0}
    assert metrics(scores, ["sharpe"], 1.0) == {"sharpe_ratio": None, "sharpe_ratio_standard_error": None}


def traded(
    prices: list[float], point: list[float], cost: float = 0.0, observed: list[bool] | None = None, horizon: int = 2
) -> Sharpe:
    """The ratio of one series: prices[0] is the last known value, the rest are cut into windows of `horizon`."""
    return sharpe(returns_of(prices, point, cost, observed, horizon), 252.0)


def returns_of(
    prices: list[float], point: list[float], cost: float = 0.0, observed: list[bool] | None = None, horizon: int = 2
) -> PortfolioReturns:
    y = np.array(prices[1:]).reshape(-1, 1, horizon)
    times = np.arange(y.size).astype("datetime64[D]").astype("datetime64[ns]").reshape(y.shape)
    seen = np.ones(y.shape, bool) if observed is None else np.array(observed).reshape(y.shape)
    forecasts = np.array(point).reshape(y.shape)
    return portfolio_returns(np.array(prices[:1]), y, forecasts, times, seen, transaction_cost_bps=cost)


def by_hand(returns: list[float]) -> tuple[float, float]:
    ratio = np.mean(returns) / np.std(returns, ddof=1)
    return ratio * np.sqrt(252), np.sqrt((1 + ratio**2 / 2) / len(returns)) * np.sqrt(252)


def test_sharpe_by_hand_with_costs_and_windows():
    prices = [100.0, 102.0, 101.0, 103.0, 104.0]
    # window 1 starts at 100: up, then down. Window 2 starts at 101: up, up.
    found = traded(prices, [101.0, 100.5, 102.0, 102.5], cost=10)
    gross = [now / before - 1 for before, now in pairwise(prices)]
    positions, turnover = [1, -1, 1, 1], [1, 2, 2, 0]
    net = [s * r - 0.001 * t for s, r, t in zip(positions, gross, turnover, strict=True)]
    assert (found.ratio, found.standard_error) == pytest.approx(by_hand(net))


def test_sharpe_agrees_with_empyrical():
    rng = np.random.default_rng(3)
    prices = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, size=61)))
    forecasts = prices[1:] * np.exp(rng.normal(0, 0.01, size=60))
    wanted = np.sign(np.diff(forecasts.reshape(-1, 6), axis=1, prepend=prices[:-1:6, np.newaxis])).ravel()
    series = pd.Series(prices).pct_change().dropna().to_numpy() * wanted
    series -= 5e-4 * np.abs(np.diff(wanted, prepend=0))
    theirs = empyrical.sharpe_ratio(series, risk_free=0, annualization=252)
    assert traded(list(prices), list(forecasts), cost=5, horizon=6).ratio == pytest.approx(theirs, rel=1e-12)


def test_sharpe_keeps_the_position_over_a_holiday():
    prices = [100.0, 102.0, 102.0, 105.0, 104.0]
    found = traded(prices, [101.0, 90.0, 103.0, 105.0], cost=10, observed=[True, False, True, True])
    returns = [0.02 - 0.001, 0.0, 105 / 102 - 1, 104 / 105 - 1]
    assert (found.ratio, found.standard_error) == pytest.approx(by_hand(returns))


def test_sharpe_is_flat_before_the_first_observed_step():
    found = traded([100.0, 102.0, 101.0], [103.0, 104.0], cost=10, observed=[False, True])
    assert found.ratio == pytest.approx(by_hand([0.0, 101 / 102 - 1 - 0.001])[0])


def test_sharpe_averages_over_series_with_the_same_timestamp():
    y = np.array([[[110.0, 99.0], [100.0, 120.0]]])
    times = np.array([[[0, 1], [1, 2]]]).astype("datetime64[D]").astype("datetime64[ns]")
    seen = np.ones(y.shape, bool)
    found = sharpe(portfolio_returns(np.full(2, 100.0), y, y, times, seen, transaction_cost_bps=0), 252.0)
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
def test_sharpe_is_null_where_it_is_not_defined(prices, point):
    assert traded(prices, point) == Sharpe(None, None)


def test_sharpe_needs_two_returns():
    assert traded([100.0, 101.0], [102.0], horizon=1) == Sharpe(None, None)


@given(st.lists(st.floats(1, 1000), min_size=5, max_size=5), st.floats(0.01, 100))
def test_sharpe_does_not_depend_on_the_currency(prices, rate):
    point = [p * 1.01 for p in prices[1:]]
    one = traded(prices, point)
    other = traded([p * rate for p in prices], [p * rate for p in point])
    if one.ratio is not None and other.ratio is not None and abs(one.ratio) < 1e6:
        assert one.ratio == pytest.approx(other.ratio, rel=1e-3, abs=1e-6)
