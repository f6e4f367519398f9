"""The backtest: where windows are, that no model sees beyond its cutoff, and what is scored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.documents import check
from instance.backtest import actuals, cutoff, history, score
from instance.checkpoints import Finished
from instance.hardware import Placement
from instance.models.auto_ets import AutoETS
from instance.models.chronos_zero_shot import ChronosZeroShot
from instance.models.interface import Forecast
from instance.series import SeriesSet, build_series
from tests.instance.samples import monthly_frame

N_WINDOWS, HORIZON = 3, 4


def series_with(change: Any = None) -> SeriesSet:
    frame = monthly_frame(n_series=2, length=40)
    if change is not None:
        change(frame)
    return build_series(frame, check("run_request", {"n_windows": N_WINDOWS, "prediction_length": HORIZON}), [])


def test_windows_follow_each_other_and_end_at_the_last_value() -> None:
    assert [cutoff(40, window, N_WINDOWS, HORIZON) for window in range(N_WINDOWS + 1)] == [28, 32, 36, 40]
    series, what = series_with(), actuals(series_with(), N_WINDOWS)
    assert what.y[:, 0].ravel().tolist() == series.values[0][28:].tolist()
    assert what.last.tolist() == [values[27] for values in series.values]
    assert what.cutoffs[:, 0].astype("datetime64[M]").astype(str).tolist() == ["2022-04", "2022-08", "2022-12"]
    assert str(what.times[0, 0, 0].astype("datetime64[D]")) == "2022-05-01"


@given(window=st.integers(0, N_WINDOWS - 1), factor=st.floats(-1e6, 1e6), offset=st.integers(0, 11), gap=st.booleans())
@settings(max_examples=40, deadline=None)
def test_history_does_not_depend_on_what_comes_after_the_cutoff(
    window: int, factor: float, offset: int, gap: bool
) -> None:
    known = cutoff(40, window, N_WINDOWS, HORIZON)
    later = min(known + offset, 39)

    def change(frame: Any) -> None:
        rows = frame.groupby("unique_id").cumcount() >= later
        frame.loc[rows, "y"] = frame.loc[rows, "y"] * factor + 1
        if gap:
            frame.loc[frame.groupby("unique_id").cumcount().between(known - 1, known), "y"] = np.nan

    def same_gap(frame: Any) -> None:
        if gap:
            frame.loc[frame.groupby("unique_id").cumcount().between(known - 1, known), "y"] = np.nan

    before = history(series_with(same_gap), window, N_WINDOWS)
    after = history(series_with(change), window, N_WINDOWS)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["ChronosZeroShot", "AutoETS"])
def test_forecasts_do_not_depend_on_what_comes_after_the_cutoff(name: str, tiny_weights: Path) -> None:
    model: Any = (
        ChronosZeroShot(tiny_weights, Placement("cpu", "float32"))
        if name == "ChronosZeroShot"
        else AutoETS(12, cores=1)
    )

    def change(frame: Any) -> None:
        frame.loc[frame.groupby("unique_id").cumcount() >= 32, "y"] *= -3

    def forecast(series: SeriesSet, window: int) -> np.ndarray:
        known = history(series, window, N_WINDOWS)
        return np.asarray(model.forecast(known, HORIZON, [0.1, 0.5, 0.9], lambda _: None).quantiles)

    np.testing.assert_array_equal(forecast(series_with(), 1), forecast(series_with(change), 1))
    assert not np.array_equal(forecast(series_with(), 2), forecast(series_with(change), 2))


def test_a_perfect_forecast_scores_zero_and_only_what_was_asked_for() -> None:
    series = series_with()
    what = actuals(series, N_WINDOWS)
    request = check("run_request", {"metrics": ["mae", "wql"], "quantile_levels": [0.5]})
    windows = [Finished(Forecast(y, y[..., np.newaxis]), 0.0) for y in what.filled]
    assert score(what, windows, series, request) == {"mae": 0.0, "wql": 0.0}


def test_filled_steps_are_not_scored() -> None:
    def change(frame: Any) -> None:
        frame.loc[frame.groupby("unique_id").cumcount() == 35, "y"] = np.nan

    series = series_with(change)
    what = actuals(series, N_WINDOWS)
    wrong = [Finished(Forecast(y.copy(), y[..., np.newaxis].copy()), 0.0) for y in what.filled]
    wrong[1].forecast.point[:, 3] += 1000
    assert np.isnan(what.y[1, :, 3]).all()
    assert score(what, wrong, series, check("run_request", {"metrics": ["mae"], "quantile_levels": [0.5]})) == {
        "mae": 0.0
    }
