"""The ensemble: weights by greedy selection, no look-ahead, blended forecasts, saving."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.models.ensemble import Ensemble, Sample, blend, select
from instance.models.interface import Forecast

LEVELS = [0.1, 0.5, 0.9]
SHAPE = (3, 40, 6)  # windows, series, horizon


def forecast(values: np.ndarray) -> np.ndarray:
    """Quantiles around values: (..., n_levels)."""
    return values[..., np.newaxis] + np.array([-1.3, 0.0, 1.3])


def sample(seed: int = 0, **noise: float) -> Sample:
    """Models that are right but for independent noise of a given size."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=SHAPE)
    quantiles = {name: forecast(y + size * rng.normal(size=SHAPE)) for name, size in noise.items()}
    return Sample(y, np.ones(SHAPE[:2]), quantiles)


def pinball(given: Sample, weights: dict[str, float]) -> float:
    """Loss of a weighted average, written out step by step."""
    mixed = sum(weight * given.quantiles[name] for name, weight in weights.items())
    losses = []
    for index in np.ndindex(*given.y.shape):
        scale = given.scale[index[:2]]
        for level, q in zip(LEVELS, mixed[index], strict=True):
            error = (given.y[index] - q) / scale
            losses.append(level * error if error >= 0 else (level - 1) * error)
    return float(np.nanmean(losses))


def test_two_models_with_independent_errors_are_weighed_by_their_precision() -> None:
    weights = select(sample(good=1.0, fair=1.5, hopeless=30.0), LEVELS)
    assert weights["good"] > weights["fair"] > 0.1
    assert weights["hopeless"] == 0
    assert sum(weights.values()) == pytest.approx(1)


def test_weights_are_never_worse_than_the_best_single_model() -> None:
    for seed in range(5):
        given = sample(seed, a=0.5, b=3.0, c=4.0)
        singles = [pinball(given, {name: 1.0}) for name in given.quantiles]
        assert pinball(given, select(given, LEVELS)) <= min(singles) + 1e-12


def test_weights_are_better_than_any_single_model_where_models_complement_each_other() -> None:
    given = sample(a=1.0, b=1.0)
    assert pinball(given, select(given, LEVELS)) < 0.95 * min(pinball(given, {name: 1.0}) for name in "ab")


def test_equal_models_leave_the_weight_to_the_first() -> None:
    one = sample(a=1.0)
    twice = Sample(one.y, one.scale, {"first": one.quantiles["a"], "second": one.quantiles["a"].copy()})
    assert select(twice, LEVELS) == {"first": 1.0, "second": 0.0}


def test_each_series_counts_by_its_scale() -> None:
    given = sample(a=0.0, b=0.0)
    large = np.zeros(SHAPE[1], dtype=bool)
    large[:5] = True
    a, b = (one.copy() for one in given.quantiles.values())
    a[:, ~large] += 2.0  # wrong on the many small series
    b[:, large] += 100.0  # wrong on the few large ones, by little of their size
    scaled = Sample(given.y, np.where(large, 1e4, 1.0) * np.ones(SHAPE[:2]), {"a": a, "b": b})
    assert select(scaled, LEVELS)["b"] == 1.0
    assert select(Sample(given.y, given.scale, {"a": a, "b": b}), LEVELS)["a"] > 0.9


def test_unobserved_steps_and_series_without_a_scale_do_not_count() -> None:
    given = sample(a=1.0, b=1.2)
    expected = select(given, LEVELS)
    y, scale = np.concatenate([given.y] * 2, axis=1), np.concatenate([given.scale] * 2, axis=1)
    wrong = {
        name: np.concatenate([one, one * 0 + 1e6 * (name == "a")], axis=1) for name, one in given.quantiles.items()
    }
    y[:, SHAPE[1] : SHAPE[1] + 20] = np.nan
    scale[:, SHAPE[1] + 20 :] = np.nan
    assert select(Sample(y, scale, wrong), LEVELS) == expected


def test_nothing_observed_gives_equal_weights() -> None:
    given = sample(a=1.0, b=1.0)
    assert select(Sample(given.y * np.nan, given.scale, given.quantiles), LEVELS) == {"a": 0.5, "b": 0.5}


@settings(deadline=None, max_examples=25)
@given(window=st.integers(0, 2), value=st.floats(-1e6, 1e6))
def test_the_weights_of_a_window_do_not_depend_on_what_came_in_it_or_later(window: int, value: float) -> None:
    given = sample(a=1.0, b=1.3, c=2.0)
    before = Ensemble(LEVELS).fit(given)
    later = given.y.copy()
    later[window:] = value
    after = Ensemble(LEVELS).fit(Sample(later, given.scale, given.quantiles))
    assert after[: window + 1] == before[: window + 1]
    assert before[0] == dict.fromkeys("abc", 1 / 3)


def test_the_forecast_beyond_the_data_uses_every_window() -> None:
    given = sample(a=1.0, b=1.0)
    given.quantiles["a"][-1] += 50.0  # only the last window speaks against a
    *_, last_window, beyond = Ensemble(LEVELS).fit(given)
    assert last_window["a"] > 0.3
    assert beyond["a"] < last_window["a"]


def test_blending_averages_point_and_quantiles_and_keeps_their_order() -> None:
    rng = np.random.default_rng(0)
    quantiles = [np.sort(rng.normal(size=(50, 4, 9)), axis=-1) for _ in range(3)]
    forecasts = {name: Forecast(one[..., 4], one) for name, one in zip("abc", quantiles, strict=True)}
    mixed = blend(forecasts, {"a": 0.2, "b": 0.8, "c": 0.0})
    np.testing.assert_allclose(mixed.quantiles, 0.2 * quantiles[0] + 0.8 * quantiles[1])
    np.testing.assert_allclose(mixed.point, 0.2 * quantiles[0][..., 4] + 0.8 * quantiles[1][..., 4])
    assert (np.diff(mixed.quantiles, axis=-1) >= 0).all()


def test_a_series_failed_where_every_model_with_a_weight_failed() -> None:
    some = np.zeros((3, 1))
    forecasts = {
        "a": Forecast(some, some[..., np.newaxis], failures={0: "too short", 1: "odd"}),
        "b": Forecast(some, some[..., np.newaxis], failures={1: "erratic"}),
        "unused": Forecast(some, some[..., np.newaxis]),
    }
    assert blend(forecasts, {"a": 0.5, "b": 0.5, "unused": 0.0}).failures == {1: "odd"}


def test_each_window_is_blended_with_its_own_weights() -> None:
    weights = [{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}]
    by_model = {
        name: [Forecast(np.full((1, 2), value), np.full((1, 2, 3), value))] * 2
        for name, value in (("a", 1.0), ("b", 5.0))
    }
    first, beyond = Ensemble(LEVELS, weights).forecast_windows(by_model)
    assert (first.point == 1.0).all()
    assert (beyond.quantiles == 5.0).all()


def test_forecasts_of_another_number_of_windows_are_refused() -> None:
    one = Forecast(np.zeros((1, 1)), np.zeros((1, 1, 3)))
    with pytest.raises(ValueError, match="expected 2 forecasts from each model"):
        Ensemble(LEVELS, [{"a": 1.0}, {"a": 1.0}]).forecast_windows({"a": [one]})


def test_a_loaded_ensemble_blends_the_same(tmp_path: Path) -> None:
    fitted = Ensemble(LEVELS)
    fitted.fit(sample(a=1.0, b=1.3))
    fitted.save(tmp_path / "model")
    loaded = Ensemble.load(tmp_path / "model")
    assert (loaded.levels, loaded.weights) == (LEVELS, fitted.weights)
    assert loaded.caveats()[0].startswith("weights beyond the data: a 0.")
