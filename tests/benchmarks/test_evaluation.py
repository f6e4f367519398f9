"""The comparison of models in benchmarks/, with fakes. Runs anywhere."""

import numpy as np
import pytest

from benchmarks.evaluation import Scores, evaluate, relative, share_better
from benchmarks.seasonal_naive import SeasonalNaive
from instance.frequency import Frequency
from instance.models.interface import Forecast
from instance.series import SeriesSet


def series_set(*values: np.ndarray, season_length: int = 4, horizon: int = 3) -> SeriesSet:
    return SeriesSet(
        ids=[f"series-{index}" for index in range(len(values))],
        values=[np.asarray(one, dtype=np.float64) for one in values],
        observed=[np.ones(len(one), dtype=bool) for one in values],
        first=[np.datetime64("2020-01-01", "ns") for _ in values],
        frequency=Frequency("D"),
        season_length=season_length,
        prediction_length=horizon,
        rows=sum(len(one) for one in values),
        notes=[],
    )


class Recorder:
    """Forecasts a constant above the last value and remembers what it was shown."""

    def __init__(self, name, error=1.0):
        self.name, self.error, self.seen = name, error, []

    def forecast(self, history, horizon, levels, on_progress):
        self.seen = [values.copy() for values in history]
        point = np.stack([np.full(horizon, values[-1] + self.error) for values in history])
        return Forecast(point=point, quantiles=np.repeat(point[..., np.newaxis], len(levels), axis=-1), failed=1)


def scores(*mase):
    return Scores(mase_by_series=np.array(mase), mase=float(np.mean(mase)), wql=0.1, failed=0)


def test_no_model_sees_a_value_after_a_cutoff_or_before_its_longest_history():
    model = Recorder("model")

    evaluate([model], series_set(np.arange(30), np.arange(100, 120)), n_windows=2, max_history=10)

    assert [(values[0], values[-1]) for values in model.seen] == [(14, 23), (104, 113), (17, 26), (107, 116)]


def test_scores_belong_to_the_series_they_were_made_for():
    flat = np.tile([1.0, 3.0], 10)
    flat[-6:] = flat[-7]

    found = evaluate([Recorder("off", error=2.0)], series_set(flat, np.arange(20)), n_windows=2, max_history=99)["off"]

    # Steps of 1, 2, 3 against a forecast of +2, over a seasonal (lag 4) scale of 4.
    assert found.mase_by_series[1] == pytest.approx((1 + 0 + 1) / 3 / 4)
    assert found.failed == 1


def test_the_loss_of_a_perfect_forecast_is_zero():
    found = evaluate([SeasonalNaive(4)], series_set(np.tile([1.0, 2.0, 5.0, 2.0], 6) + 0), 2, 99)["SeasonalNaive"]

    assert found.wql == pytest.approx(0.0)


def test_relative_is_the_geometric_mean_of_ratios():
    found = {"model": scores(1.0, 4.0), "yardstick": scores(2.0, 2.0)}

    assert relative(found, "model", "yardstick") == pytest.approx(1.0)
    assert relative({**found, "model": scores(1.0, 1.0)}, "model", "yardstick") == pytest.approx(0.5)


def test_share_better_counts_series_and_no_ties():
    found = {"model": scores(1.0, 2.0, 3.0, 1.0), "yardstick": scores(2.0, 2.0, 2.0, 2.0)}

    assert share_better(found, "model", "yardstick") == 0.5


def test_seasonal_naive_repeats_the_last_season_and_widens_season_by_season():
    history = np.array([1.0, 2.0, 3.0, 2.0, 4.0, 6.0])

    made = SeasonalNaive(3).forecast([history], 7, [0.1, 0.5, 0.9], lambda _: None)

    np.testing.assert_allclose(made.point[0], [2, 4, 6, 2, 4, 6, 2])
    np.testing.assert_allclose(made.quantiles[0, :, 1], made.point[0])
    width = made.quantiles[0, :, 2] - made.quantiles[0, :, 0]
    np.testing.assert_allclose(width, 2 * 1.2815515655 * np.sqrt(14 / 3) * np.sqrt([1, 1, 1, 2, 2, 2, 3]))


def test_seasonal_naive_repeats_the_last_value_when_the_history_is_no_longer_than_a_season():
    made = SeasonalNaive(12).forecast([np.array([3.0]), np.array([1.0, 2.0])], 2, [0.5], lambda _: None)

    assert made.point.tolist() == [[3.0, 3.0], [2.0, 2.0]]
