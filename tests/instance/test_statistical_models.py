"""The statistical models: intervals, refit policies, no look-ahead, fallbacks, covariates, processes, saving."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from statsforecast import arima, ets
from statsforecast.models import AutoARIMA as LibraryARIMA
from statsforecast.models import AutoETS as LibraryETS
from statsforecast.models import DynamicOptimizedTheta as LibraryTheta
from statsforecast.models import SeasonalNaive as LibrarySeasonalNaive
from statsforecast.theta import auto_theta, compute_pi_samples

from instance.frequency import Frequency
from instance.models.auto_arima import AutoARIMA, independent_columns
from instance.models.auto_ets import AutoETS, EtsMethod
from instance.models.interface import Forecast
from instance.models.seasonal_naive import SeasonalNaive
from instance.models.series_fit import Seen
from instance.models.theta import DynamicOptimizedTheta, spread_growth
from instance.series import SeriesSet
from instance.windows import panels
from tests.instance.statistical_samples import KINDS, LEVELS, Kind, alone, forecast, panel, waves


@pytest.mark.parametrize("season", [1, 4])
@pytest.mark.parametrize(
    ("kind", "library"), [(AutoETS, LibraryETS), (AutoARIMA, LibraryARIMA), (SeasonalNaive, LibrarySeasonalNaive)]
)
def test_mean_and_intervals_are_those_of_statsforecast(kind: Any, library: Any, season: int) -> None:
    values = waves(60, season=4)[0]
    made = forecast(alone(kind, season), panel(values, season=season), horizon=6, levels=[0.975, 0.1, 0.5, 0.9])[0]
    expected = library(season_length=season).forecast(values, 6, level=[80, 95])
    np.testing.assert_allclose(made.point[0], expected["mean"], rtol=1e-9)
    for column, name in enumerate(["hi-95", "lo-80", "mean", "hi-80"]):
        np.testing.assert_allclose(made.quantiles[0, :, column], expected[name], rtol=1e-6)


@pytest.mark.parametrize("shift", [0.0, -20.0])  # multiplicative and additive seasons
def test_theta_mean_is_that_of_statsforecast_and_its_median(shift: float) -> None:
    values = waves(72)[0] + shift
    made = forecast(alone(DynamicOptimizedTheta), panel(values), horizon=15)[0]
    np.testing.assert_allclose(made.point[0], LibraryTheta(season_length=12).forecast(values, 15)["mean"], rtol=1e-9)
    np.testing.assert_array_equal(made.quantiles[..., 1], made.point)


def test_theta_spread_is_that_of_many_simulated_paths() -> None:
    values = np.cumsum(np.random.default_rng(1).normal(size=60)) + 50
    model = auto_theta(values, m=1, model="DOTM")
    alpha, theta = model["par"]["alpha"], model["par"]["theta"]
    paths = compute_pi_samples(
        n=60,
        h=12,
        states=model["states"],
        sigma=2.0,
        alpha=alpha,
        theta=theta,
        mean_y=model["mean_y"],
        n_samples=40_000,
    )
    np.testing.assert_allclose(2 * spread_growth(60, 12, alpha=alpha, theta=theta), paths.std(axis=1), rtol=0.02)


@pytest.mark.parametrize("shift", [0.0, -20.0])
def test_theta_intervals_of_a_seasonal_series_are_as_wide_as_its_noise(shift: float) -> None:
    made = forecast(alone(DynamicOptimizedTheta), panel(waves(240)[0] + shift), horizon=1, levels=[0.158655, 0.841345])
    assert 0.8 < (made[0].quantiles[0, 0, 1] - made[0].quantiles[0, 0, 0]) / 2 < 1.5  # the noise is 1, the season 5


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_come_in_the_order_asked_and_spread_with_the_level(kind: Kind) -> None:
    made = forecast(alone(kind, 4), panel(*waves(40, 50, season=4), season=4), levels=[0.9, 0.01, 0.5, 0.999])[0]
    ascending = made.quantiles[..., [1, 2, 0, 3]]
    assert made.quantiles.shape == (2, 4, 4)
    assert (np.diff(ascending, axis=-1) > 0).all()
    assert made.failures == {}


@pytest.mark.parametrize("refit", ["form", "parameters"])
@pytest.mark.parametrize("kind", [*KINDS, SeasonalNaive])
@settings(deadline=None, max_examples=2, derandomize=True, phases=[Phase.generate])
@given(window=st.integers(0, 2), seed=st.integers(0, 1000))
def test_a_forecast_does_not_change_with_the_future(kind: Any, refit: str, window: int, seed: int) -> None:
    season = 1 if kind is AutoARIMA else 4  # a seasonal search takes it seconds
    series = waves(33, season=4) if kind is AutoARIMA else waves(40, 33, season=4)
    known = [np.random.default_rng(9).normal(size=(1, len(values) + 4)) for values in series]
    rng = np.random.default_rng(seed)

    def run(perturbed: bool) -> Forecast:
        values, covariates = [one.copy() for one in series], [one.copy() for one in known]
        for one, x in zip(values, covariates, strict=True):
            seen = len(one) - (3 - window) * 4
            if perturbed:
                one[seen:] = rng.normal(1000, 100, size=len(one) - seen)
                x[:, seen + 4 :] += 7.0  # known in advance for the window's own steps, and no further
        chunk = SeriesSet(
            ids=["a", "b"][: len(series)], values=values, observed=[np.ones(len(one), dtype=bool) for one in values],
            first=np.array(["2020-01-01"] * len(series), dtype="datetime64[ns]"), frequency=Frequency("MS"),
            season_length=season, prediction_length=4, known=covariates,
        )  # fmt: skip
        return forecast(alone(kind, season, refit), *panels(chunk, 3))[window]

    before, after = run(perturbed=False), run(perturbed=True)
    np.testing.assert_array_equal(before.quantiles, after.quantiles)
    np.testing.assert_array_equal(before.point, after.point)


def test_a_seasonal_naive_forecast_repeats_the_last_season() -> None:
    values = waves(40)[0]
    assert forecast(SeasonalNaive(12), panel(values[:30]))[0].point[0].tolist() == values[18:22].tolist()


@pytest.mark.parametrize(("kind", "module", "search"), [(AutoETS, ets, "ets_f"), (AutoARIMA, arima, "auto_arima_f")])
def test_the_form_is_chosen_once_or_in_each_window(
    kind: Kind, module: ModuleType, search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = {"form": 0, "parameters": 0}
    real: Callable[..., Any] = getattr(module, search)

    def counted(*arguments: Any, **named: Any) -> Any:
        searches[refit] += "model" not in named
        return real(*arguments, **named)

    monkeypatch.setattr(module, search, counted)
    values = waves(40, season=4)[0]
    windows = [panel(values[:n], season=4) for n in (28, 32, 36, 40)]
    for refit in searches:
        made = forecast(alone(kind, 4, refit), *windows)
        if refit == "parameters":
            assert len({one.parameters[0]["method"] for one in made}) == 1
            assert len({one.parameters[0]["sigma2"] for one in made}) == 4
    assert searches == {"form": 4, "parameters": 1}


def test_parameters_found_from_the_window_before_are_as_likely_as_those_found_afresh() -> None:
    method, gains = EtsMethod(12), []
    for seed in range(6):
        noise = np.random.default_rng(seed).normal(size=132)
        values = (20 + 5 * np.sin(np.arange(132) * np.pi / 6) + noise) * np.linspace(1, 3, 132)
        first = method.choose(Seen(values[:120], None), 6).parameters
        error, trend, season, damped = first["components"]
        afresh = ets.ets_f(values, 12, model=f"{error}{trend}{season}", damped=damped == "D")
        ours = method.estimate(Seen(values, None), 6, first).parameters
        assert ours["components"] == first["components"] == afresh["components"]
        gains.append(afresh["aicc"] - ours["aicc"])
    assert min(gains) > -3


def test_parameters_at_their_bound_can_leave_it_again() -> None:
    values = 50 + np.cumsum(np.random.default_rng(0).normal(scale=4, size=80))
    method = EtsMethod(1)
    walk = method.choose(Seen(values, None), 3).parameters
    assert walk["smoothing"][0] > 0.5
    bound = walk | {"smoothing": [1e-4, *walk["smoothing"][1:]]}
    again = method.estimate(Seen(values, None), 3, bound).parameters
    assert again["smoothing"][0] == pytest.approx(walk["smoothing"][0], abs=0.05)


def test_a_form_that_no_longer_fits_is_chosen_anew() -> None:
    values = np.exp(waves(60, season=4)[0] / 10)
    values[50:] -= 30  # no longer positive
    first, last = forecast(alone(AutoETS, 4), panel(values[:44], season=4), panel(values, season=4))
    assert "M" in first.parameters[0]["components"]
    assert last.failures == {}
    assert "M" not in last.parameters[0]["components"]


@pytest.mark.parametrize("kind", [*KINDS, SeasonalNaive])
def test_a_constant_series_stays_constant(kind: Any) -> None:
    made = forecast(alone(kind), panel(np.full(40, 7.0)), panel([*np.full(40, 7.0), 8.0]))
    np.testing.assert_array_equal(made[0].quantiles, np.full((1, 4, 3), 7.0))
    assert made[0].failures == {}
    assert np.isfinite(made[1].quantiles).all()


@pytest.mark.parametrize("kind", KINDS)
def test_five_values_are_enough_for_a_forecast(kind: Kind) -> None:
    made = forecast(alone(kind, 2), panel([1.0, 2.0, 3.5, 4.0, 5.0], season=2))[0]
    assert np.isfinite(made.quantiles).all()


def test_a_series_that_fails_is_forecast_by_its_last_season_and_named() -> None:
    short, long = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), waves(40, season=2)[0]
    mixed = forecast(alone(AutoETS, 2), panel(short, long, season=2), horizon=3)[0]
    assert mixed.failures == {0: "NotImplementedError: tiny datasets"}
    assert mixed.parameters[0]["method"] == "SeasonalNaive"
    assert mixed.point[0].tolist() == [4.0, 5.0, 4.0]
    # lag-2 residuals are all 2; the third step is two seasons ahead
    assert mixed.quantiles[0, 0, 2] == pytest.approx(4 + 2 * 1.281552, rel=1e-6)
    assert mixed.quantiles[0, 2, 2] == pytest.approx(4 + 2 * 2**0.5 * 1.281552, rel=1e-6)
    np.testing.assert_array_equal(
        mixed.quantiles[1], forecast(alone(AutoETS, 2), panel(long, season=2), horizon=3)[0].quantiles[0]
    )


def test_a_forecast_that_is_not_finite_counts_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(model: Any, horizon: int, level: list[float]) -> dict[str, np.ndarray]:
        return {"mean": np.full(horizon, np.inf), f"hi-{level[0]}": np.full(horizon, np.inf)}

    monkeypatch.setattr("statsforecast.ets.forecast_ets", overflow)
    made = forecast(alone(AutoETS, 1), panel(waves(30)[0]))[0]
    assert made.failures[0].startswith("ValueError: expected a forecast of finite numbers")
    assert np.isfinite(made.quantiles).all()


@pytest.mark.parametrize("kind", [AutoETS, AutoARIMA])
def test_a_season_that_is_too_long_is_left_out_and_said(kind: Kind) -> None:
    assert alone(kind, 24).caveats(5, LEVELS) == []
    assert alone(kind, 52).caveats(5, LEVELS)[0].startswith("the season of 52 steps is longer than the 24")
    assert alone(kind, 52).method.season_length == 1


def test_theta_takes_a_long_season() -> None:
    values = waves(200, season=52)[0]
    assert alone(DynamicOptimizedTheta, 52).caveats(5, LEVELS) == []
    made = forecast(alone(DynamicOptimizedTheta, 52), panel(values, season=52), horizon=52)[0]
    expected = 20 + 5 * np.sin(np.arange(200, 252) * 2 * np.pi / 52)
    assert np.abs(made.point[0] - expected).mean() < 1.5


def test_auto_arima_uses_covariates_known_in_advance() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 64))
    x[1] = 5.0  # constant: nothing to learn from
    x[2] = 2 * x[0]  # follows from the first
    values = 10 + 3 * x[0, :60] + 0.1 * rng.normal(size=60)
    windows = [panel(values[:n], season=1, known=[x[:, : n + 4]]) for n in (56, 60)]
    made = forecast(alone(AutoARIMA, 1), *windows)
    assert [one.parameters[0]["covariates"] for one in made] == [[0], [0]]
    np.testing.assert_allclose(made[1].point[0], 10 + 3 * x[0, 60:], atol=0.4)
    assert AutoARIMA.covariates == {"known"}
    assert AutoETS.covariates == DynamicOptimizedTheta.covariates == frozenset()


def test_covariates_that_say_nothing_are_no_regressors() -> None:
    values = waves(20)[0]
    assert independent_columns(Seen(values, None)) == []
    assert independent_columns(Seen(values, np.zeros((2, 24)))) == []
