"""The statistical models loaded again, counted as they go, and worked on by several processes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instance.models import core_pool
from instance.models.auto_ets import AutoETS
from instance.models.core_pool import CorePool
from instance.models.seasonal_naive import SeasonalNaive
from tests.instance.statistical_samples import KINDS, LEVELS, Kind, alone, forecast, panel, waves


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_forecasts_the_same_without_fitting(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 68))
    values = waves(64, season=4)[0] + x[0, :64]
    given = panel(values, [1.0, 2.0, 3.0, 4.0, 5.0, 4.0], np.full(20, 3.0), season=4, known=[x, x[:, :10], x[:, :24]])
    fitted = alone(kind, 4)
    expected = forecast(fitted, given)[0]
    fitted.save(tmp_path / "model")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing should be searched or estimated")

    monkeypatch.setattr("statsforecast.ets.etsmodel", refuse)
    monkeypatch.setattr("statsforecast.arima.auto_arima_f", refuse)
    monkeypatch.setattr(
        "statsforecast.theta.optimize_theta_target_fn",
        lambda **named: refuse() if any(named["optimize_params"].values()) else None,
    )
    parameters = dict(zip(given.ids, expected.parameters, strict=True))
    loaded = kind.load(tmp_path / "model", {"s0": parameters["s0"], "s2": parameters["s2"]}, CorePool(1))
    made = forecast(loaded, given)[0]
    assert set(made.failures) <= {1}
    np.testing.assert_allclose(made.quantiles[[0, 2]], expected.quantiles[[0, 2]], rtol=1e-9)
    assert (loaded.season_length, loaded.refit) == (4, "parameters")


def test_a_loaded_seasonal_naive_forecasts_the_same(tmp_path: Path) -> None:
    given = panel(*waves(30, 40))
    SeasonalNaive(12).save(tmp_path)
    np.testing.assert_array_equal(
        forecast(SeasonalNaive.load(tmp_path), given)[0].quantiles, forecast(SeasonalNaive(12), given)[0].quantiles
    )


def test_progress_counts_every_series_and_window() -> None:
    done: list[int] = []
    values = waves(30, 20, 25)
    windows = [panel(*(one[:-4] for one in values), season=1), panel(*values, season=1)]
    alone(AutoETS, 1).forecast(windows, 3, LEVELS, done.append)
    assert sum(done) == 6
    SeasonalNaive(1).forecast(windows, 3, LEVELS, done.append)
    assert sum(done) == 12


def test_processes_shared_by_two_threads_give_the_same_forecasts_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core_pool, "STEPS_WORTH_PROCESSES", 2)
    lengths, done = np.random.default_rng(0).permutation(np.arange(20, 44)), []
    chunks = [panel(*waves(*lengths[:12]), season=1), panel(*waves(*lengths[12:]), season=1)]
    pool = CorePool(2)
    try:
        model = AutoETS(1, pool)
        with ThreadPoolExecutor(2) as threads:
            shared = list(threads.map(lambda chunk: model.forecast([chunk], 3, LEVELS, done.append)[0], chunks))
        assert pool.started
    finally:
        pool.close()
    for chunk, made in zip(chunks, shared, strict=True):
        expected = [forecast(alone(AutoETS, 1), panel(one, season=1), horizon=3)[0].quantiles for one in chunk.values]
        np.testing.assert_array_equal(made.quantiles, np.concatenate(expected))
    assert sum(done) == 24


def test_little_work_starts_no_process() -> None:
    pool = CorePool(2)
    forecast(AutoETS(1, pool), panel(*waves(30, 30), season=1))
    assert not pool.started
