"""The backtest: where windows are, that no model sees beyond its cutoff, and what is scored."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.documents import check
from instance.actuals import actuals
from instance.dataset import DataFile
from instance.hardware import Placement
from instance.ingest import ingest
from instance.metrics import metrics
from instance.models.catalog import Setting, build
from instance.models.core_pool import CorePool
from instance.models.interface import Model
from instance.scores import score_chunk
from instance.series import SeriesSet
from instance.series_store import series_of
from instance.windows import cutoff, panels
from tests.instance.samples import monthly_frame

N_WINDOWS, HORIZON, LENGTH = 3, 4, 40
LEVELS = [0.1, 0.5, 0.9]
REQUEST = check("run_request", {"n_windows": N_WINDOWS, "prediction_length": HORIZON})
Change = Callable[[Any], None]


def series_with(*changes: Change) -> SeriesSet:
    frame = monthly_frame(n_series=2, length=LENGTH)
    for change in changes:
        change(frame)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        frame.to_parquet(path)
        return series_of(ingest([DataFile("a.parquet", path, "0")], REQUEST, Path(folder) / "store", lambda _: None))


def step(frame: Any) -> Any:
    return frame.groupby("unique_id").cumcount()


@pytest.fixture(scope="module")
def pool() -> Iterator[CorePool]:
    pool = CorePool(1)
    yield pool
    pool.close()


def model(name: str, weights: Path, pool: CorePool, refit: str = "parameters") -> Model:
    request = check("run_request", {**REQUEST, "refit": refit})
    return build(name, Setting(request, HORIZON, Placement("cpu", "float32"), weights, pool))


def test_windows_follow_each_other_and_end_at_the_last_value() -> None:
    assert [cutoff(LENGTH, window, N_WINDOWS, HORIZON) for window in range(N_WINDOWS + 1)] == [28, 32, 36, 40]
    series = series_with()
    what = actuals(series, N_WINDOWS)
    assert what.y[:, 0].ravel().tolist() == series.values[0][28:].tolist()
    assert what.last.tolist() == [values[27] for values in series.values]
    assert what.cutoffs[:, 0].astype("datetime64[M]").astype(str).tolist() == ["2022-04", "2022-08", "2022-12"]
    assert str(what.times[0, 0, 0].astype("datetime64[D]")) == "2022-05-01"
    assert [len(panel.values[0]) for panel in panels(series, N_WINDOWS)] == [28, 32, 36, 40]


@given(window=st.integers(0, N_WINDOWS - 1), factor=st.floats(-1e6, 1e6), offset=st.integers(0, 11), gap=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_panel_read_from_files_does_not_depend_on_what_comes_after_its_cutoff(
    window: int, factor: float, offset: int, gap: bool
) -> None:
    known = cutoff(LENGTH, window, N_WINDOWS, HORIZON)
    later = min(known + offset, LENGTH - 1)

    def change(frame: Any) -> None:
        frame.loc[step(frame) >= later, "y"] = frame.loc[step(frame) >= later, "y"] * factor + 1

    def across_the_cutoff(frame: Any) -> None:
        if gap:
            frame.loc[step(frame).between(known - 1, known), "y"] = np.nan

    before = panels(series_with(across_the_cutoff), N_WINDOWS)[window]
    after = panels(series_with(change, across_the_cutoff), N_WINDOWS)[window]
    for one, other in zip(before.values, after.values, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("refit", ["form", "parameters"])
@pytest.mark.parametrize(
    "name", ["ChronosZeroShot", "ChronosFineTuned", "AutoETS", "AutoARIMA", "DynamicOptimizedTheta", "SeasonalNaive"]
)
def test_forecasts_do_not_depend_on_what_comes_after_the_cutoff(
    name: str, refit: str, tiny_weights: Path, pool: CorePool
) -> None:
    def change(frame: Any) -> None:
        frame.loc[step(frame) >= 32, "y"] *= -3

    def forecasts(series: SeriesSet) -> list[Any]:
        made = model(name, tiny_weights, pool, refit).forecast(
            panels(series, N_WINDOWS), HORIZON, LEVELS, lambda _: None
        )
        return [(one.point, one.quantiles) for one in made]

    seen, changed = forecasts(series_with()), forecasts(series_with(change))
    for window in (0, 1):
        np.testing.assert_array_equal(seen[window][0], changed[window][0])
        np.testing.assert_array_equal(seen[window][1], changed[window][1])
    assert not np.array_equal(seen[2][0], changed[2][0])


def test_a_perfect_forecast_scores_zero_and_only_what_was_asked_for() -> None:
    what = actuals(series_with(), N_WINDOWS)
    scores = score_chunk(what, what.filled, what.filled[..., np.newaxis], [0.5])
    assert metrics(scores, ["mae", "wql"], 12) == {"mae": 0.0, "wql": 0.0}


def test_filled_steps_are_not_scored() -> None:
    def change(frame: Any) -> None:
        frame.loc[step(frame) == 35, "y"] = np.nan

    what = actuals(series_with(change), N_WINDOWS)
    wrong = what.filled.copy()
    wrong[1, :, 3] += 1000
    assert np.isnan(what.y[1, :, 3]).all()
    assert metrics(score_chunk(what, wrong, what.filled[..., np.newaxis], [0.5]), ["mae"], 12) == {"mae": 0.0}
