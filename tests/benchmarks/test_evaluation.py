"""Rolling windows, scores and comparisons of benchmarks/, with models that do little. Runs anywhere."""

import numpy as np
import pytest

from benchmarks.accuracy import geometric_mean, in_sample_scale, mase, quantile_loss
from benchmarks.contenders import LEVELS, Chronos, Statistical
from benchmarks.evaluation import Scores, ratios, relative, rolling_windows, score, share_better
from benchmarks.model_card import WEIGHTS

RAMP = {"b": np.arange(100.0, 120.0), "a": np.arange(30.0)}


def constant(error):
    """Forecast the last value plus an error, at every level."""

    def forecast(histories, horizon, season_length):
        return np.stack([np.full((horizon, len(LEVELS)), history[-1] + error) for history in histories])

    return forecast


def scores(*by_series):
    return Scores(np.array(by_series, dtype=np.float64), wql=0.1)


def test_windows_follow_each_other_and_show_nothing_after_a_cutoff():
    windows = rolling_windows(RAMP, season_length=4, horizon=3, n_windows=2, max_history=10)

    assert [window.series for window in windows] == ["a", "a", "b", "b"]
    assert [(window.seen[0], window.seen[-1]) for window in windows] == [(14, 23), (17, 26), (104, 113), (107, 116)]
    assert [window.y.tolist() for window in windows[:2]] == [[24, 25, 26], [27, 28, 29]]


def test_the_scale_comes_from_the_whole_history_before_the_cutoff():
    values = np.concatenate([np.tile([0.0, 8.0], 10), np.arange(12.0)])

    whole = rolling_windows({"a": values}, 1, 4, 1, max_history=8)[0]

    assert whole.scale == pytest.approx(np.abs(np.diff(values[:-4])).mean())


def test_windows_without_enough_history_or_without_any_change_are_left_out():
    series = {"short": np.arange(13.0), "constant": np.full(40, 3.0), "good": np.arange(40.0)}

    windows = rolling_windows(series, season_length=4, horizon=3, n_windows=2, max_history=99)

    assert [window.series for window in windows] == ["good", "good", "short"]
    assert not rolling_windows({"short": np.arange(10.0)}, 4, 3, 2, 99)


def test_scores_belong_to_the_series_they_were_made_for():
    made = score(rolling_windows(RAMP, 4, 3, 2, 99), constant(2.0), season_length=4)

    # Steps of 1, 2 and 3 against a forecast of +2, over a change of 4 a season.
    np.testing.assert_allclose(made.mase_by_series, [(1 + 0 + 1) / 3 / 4] * 2)
    assert made.mase == pytest.approx(1 / 6)


def test_the_weighted_quantile_loss_of_a_point_is_its_relative_error():
    made = score(rolling_windows({"a": np.arange(30.0)}, 4, 3, 1, 99), constant(0.0), season_length=4)

    assert made.wql == pytest.approx((1 + 2 + 3) / (27 + 28 + 29))


def test_quantile_loss_charges_each_side_by_its_level():
    quantiles = np.array([[0.0, 10.0]])

    assert quantile_loss(np.array([4.0]), quantiles, np.array([0.1, 0.9])) == pytest.approx(2 * (0.4 + 0.6) / 2)


def test_scale_and_mase_by_hand():
    history = np.array([1.0, 2.0, 3.0, 5.0, 1.0])

    assert in_sample_scale(history, 2) == pytest.approx((2 + 3 + 2) / 3)
    assert in_sample_scale(history, 9) == pytest.approx((1 + 1 + 2 + 4) / 4)
    assert np.isnan(in_sample_scale(np.full(9, 4.0), 2))
    assert mase(np.array([1.0, 3.0]), np.array([2.0, 5.0]), 3.0) == pytest.approx(0.5)


def test_relative_is_the_geometric_mean_of_ratios():
    found = {"model": scores(1.0, 4.0), "yardstick": scores(2.0, 2.0), "half": scores(1.0, 1.0)}

    assert relative(found, "model", "yardstick") == pytest.approx(1.0)
    assert relative(found, "half", "yardstick") == pytest.approx(0.5)
    assert geometric_mean(np.array([2.0, 8.0])) == pytest.approx(4.0)


def test_a_series_forecast_without_error_by_the_yardstick_has_no_ratio():
    found = {"model": scores(1.0, 3.0), "yardstick": scores(0.0, 2.0)}

    assert ratios(found, "model", "yardstick").tolist() == [1.5]


def test_share_better_counts_series_and_no_ties():
    found = {"model": scores(1.0, 2.0, 3.0, 1.0), "yardstick": scores(2.0, 2.0, 2.0, 2.0)}

    assert share_better(found, "model", "yardstick") == 0.5


@pytest.mark.parametrize("kind", ["SeasonalNaive", "Naive", "AutoETS"])
def test_a_statistical_model_gives_rising_quantiles_for_every_history(kind):
    steps = np.arange(60)
    season = 10 + np.sin(2 * np.pi * steps / 4) + 0.1 * np.random.default_rng(0).standard_normal(60)

    made = Statistical(kind, processes=1)([season, season[:9], season[:8]], 8, 4)

    assert made.shape == (3, 8, len(LEVELS))
    assert np.isfinite(made).all()
    assert (np.diff(made, axis=2) >= -1e-9).all()
    if kind == "SeasonalNaive":
        np.testing.assert_allclose(made[0, :, 4], np.tile(season[-4:], 2))


def test_chronos_forecasts_histories_of_any_length_alone_as_in_a_batch():
    steps = np.arange(90.0)
    season = 10 + np.sin(2 * np.pi * steps / 12)
    chronos = Chronos(WEIGHTS)

    together = chronos([season, season[:30], steps], 12, 12)
    alone = chronos([season[:30]], 12, 12)

    assert together.shape == (3, 12, len(LEVELS))
    assert (np.diff(together, axis=2) >= 0).all()
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-3)


def test_a_history_no_longer_than_a_season_is_forecast_by_its_last_value():
    made = Statistical("SeasonalNaive")([np.arange(4.0)], 3, 4)

    assert made[0, :, 4].tolist() == [3, 3, 3]
