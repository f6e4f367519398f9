"""Actuals and scores: windows without look-ahead, and chunks that add up to the whole."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instance.actuals import Actuals, actuals
from instance.frequency import CHOICES, Frequency
from instance.metrics import metrics
from instance.scores import ScoreTally, SeriesScores, combine, score_chunk
from instance.seasonal_scale import seasonal_naive_scales
from instance.series import SeriesSet
from instance.windows import cutoff, panels

LEVELS = [0.1, 0.3, 0.5, 0.7, 0.9]
ALL = ["mae", "rmse", "mase", "wql", "coverage", "direction_accuracy", "sharpe"]
N_WINDOWS, HORIZON = 2, 3


def series_set(values: list[np.ndarray], observed: list[np.ndarray] | None = None, **changes: Any) -> SeriesSet:
    given_series = {
        "ids": [f"series-{i}" for i in range(len(values))],
        "values": values,
        "observed": observed or [np.ones(len(one), bool) for one in values],
        "first": np.datetime64("2024-01-01", "ns") + (np.arange(len(values)) % 3).astype("timedelta64[D]"),
        "frequency": Frequency("D"),
        "season_length": 4,
        "prediction_length": HORIZON,
    }
    return SeriesSet(**given_series | changes)


def random_series(rng: np.random.Generator, n_series: int, *, aligned: bool = False, **changes: Any) -> SeriesSet:
    lengths = rng.integers(N_WINDOWS * HORIZON + 5, 40, size=n_series)
    if aligned:
        lengths[:] = lengths[0]
        changes["first"] = np.full(n_series, np.datetime64("2024-01-01", "ns"))
    values = [50 + np.cumsum(rng.normal(size=length)).round(1) for length in lengths]
    observed = [rng.random(length) > 0.15 for length in lengths]
    return series_set(values, observed, **changes)


def forecasts(rng: np.random.Generator, what: Actuals) -> tuple[np.ndarray, np.ndarray]:
    quantiles = np.sort(what.filled[..., np.newaxis] + rng.normal(size=(*what.y.shape, len(LEVELS))), axis=-1)
    return quantiles[..., 2].round(1), quantiles


def part(series: SeriesSet, indices: np.ndarray) -> SeriesSet:
    lists = {name: [getattr(series, name)[i] for i in indices] for name in ("ids", "values", "observed")}
    return replace(series, first=series.first[indices], **lists)


@given(seed=st.integers(0, 2**32 - 1), n_series=st.integers(1, 9), aligned=st.booleans(), data=st.data())
@settings(deadline=None)
def test_any_chunking_gives_the_metrics_of_the_whole_at_once(seed, n_series, aligned, data):
    rng = np.random.default_rng(seed)
    series = random_series(rng, n_series, aligned=aligned)
    what = actuals(series, N_WINDOWS)
    point, quantiles = forecasts(rng, what)
    ends = sorted(data.draw(st.sets(st.integers(1, n_series - 1)))) if n_series > 1 else []
    chunks = [
        score_chunk(
            actuals(part(series, chunk), N_WINDOWS),
            point[:, chunk],
            quantiles[:, chunk],
            LEVELS,
            transaction_cost_bps=5,
        )
        for chunk in np.split(np.arange(n_series), ends)
    ]
    whole = metrics(score_chunk(what, point, quantiles, LEVELS, transaction_cost_bps=5), ALL, 365.0)
    assert len(combine(chunks)) == n_series
    found = metrics(combine(chunks), ALL, 365.0)
    assert found.pop("sharpe_ratio") == pytest.approx(whole.pop("sharpe_ratio"), rel=1e-12, abs=1e-11)
    assert found == pytest.approx(whole, rel=1e-12)


def test_one_series_that_cannot_be_traded_makes_sharpe_null_in_any_chunk():
    series = series_set([np.arange(10.0, 30.0), np.arange(10.0, 30.0), np.arange(-19.0, 1.0)])
    what = actuals(series, N_WINDOWS)
    chunks = [
        score_chunk(
            actuals(part(series, np.array([i])), N_WINDOWS),
            what.filled[:, [i]] + 1,
            what.filled[:, [i], :, np.newaxis],
            [0.5],
            transaction_cost_bps=0,
        )
        for i in range(3)
    ]
    assert metrics(combine(chunks), ["sharpe"], 365.0)["sharpe_ratio"] is None
    assert metrics(combine(chunks[:2]), ["sharpe"], 365.0)["sharpe_ratio"] is not None


def test_scores_kept_of_many_chunks_take_less_than_200_bytes_a_series():
    rng = np.random.default_rng(0)
    series = random_series(rng, 500)
    what = actuals(series, N_WINDOWS)
    point, quantiles = forecasts(rng, what)
    tally = ScoreTally()
    tracemalloc.start()
    for _ in range(10):
        tally.add(score_chunk(what, point, quantiles, LEVELS, transaction_cost_bps=5))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tally.total()) == 5000
    assert kept / 5000 < 200


def test_a_list_of_windows_scores_like_an_array():
    rng = np.random.default_rng(4)
    what = actuals(random_series(rng, 3), N_WINDOWS)
    point, quantiles = forecasts(rng, what)

    def scored(*given_forecasts: Any) -> SeriesScores:
        return score_chunk(what, *given_forecasts, LEVELS, transaction_cost_bps=5)

    assert metrics(scored(list(point), list(quantiles)), ALL, 365.0) == metrics(scored(point, quantiles), ALL, 365.0)


def scale_by_definition(known: np.ndarray, season_length: int) -> float:
    """Hyndman and Koehler's denominator, one history at a time."""
    lag = season_length if len(known) > season_length else 1
    apart = [abs(now - before) for now, before in zip(known[lag:], known[:-lag], strict=True)]
    counted = [value for value in apart if not np.isnan(value)]
    return float(np.mean(counted)) if counted and np.mean(counted) > 0 else float("nan")


@given(
    histories=st.lists(
        st.lists(st.sampled_from([np.nan, 1.0, 2.0, 2.5, 7.0]), min_size=8, max_size=16), min_size=1, max_size=6
    ),
    season=st.integers(1, 17),
    n_windows=st.integers(1, 3),
    horizon=st.integers(1, 2),
)
@example(histories=[[1.0, 2.0, 7.0, 2.5, 7.0, 1.0, 2.5, 2.0]] * 2, season=6, n_windows=2, horizon=1)
@example(histories=[[1.0, 2.0, 7.0, 2.5, 7.0, 1.0, 2.5, 2.0]] * 2, season=3, n_windows=3, horizon=2)
def test_scales_of_many_histories_are_those_of_each(histories, season, n_windows, horizon):
    values = [np.array(one) for one in histories]
    known = np.array([[cutoff(len(one), w, n_windows, horizon) for one in values] for w in range(n_windows)])
    expected = [[scale_by_definition(one[:end], season) for one, end in zip(values, row, strict=True)] for row in known]
    np.testing.assert_allclose(seasonal_naive_scales(values, known, season), expected, rtol=1e-12)


def test_a_constant_history_has_no_scale_and_one_shorter_than_a_season_is_scaled_at_lag_one():
    values = [np.full(9, 4.0), np.array([1.0, 3.0, 2.0])]
    scales = seasonal_naive_scales(values, np.array([[9, 3]]), 12)
    assert np.isnan(scales[0, 0])
    assert scales[0, 1] == 1.5


@given(
    seed=st.integers(0, 2**32 - 1), window=st.integers(0, N_WINDOWS - 1), factor=st.floats(-1e6, 1e6), gap=st.booleans()
)
@settings(deadline=None)
def test_nothing_before_a_cutoff_depends_on_what_comes_after_it(seed, window, factor, gap):
    rng = np.random.default_rng(seed)
    series = random_series(rng, 3)
    known = [cutoff(len(values), window, N_WINDOWS, HORIZON) for values in series.values]

    def disturbed(values: np.ndarray, end: int) -> np.ndarray:
        return np.concatenate([values[:end], values[end:] * factor + 1])

    def lost(mask: np.ndarray, end: int) -> np.ndarray:
        return np.concatenate([mask[:end], mask[end:] & (not gap)])

    other = replace(
        series,
        values=[disturbed(*one) for one in zip(series.values, known, strict=True)],
        observed=[lost(*one) for one in zip(series.observed, known, strict=True)],
    )
    one, same = (panels(of, N_WINDOWS)[window] for of in (series, other))
    for seen, still in zip(one.values, same.values, strict=True):
        np.testing.assert_array_equal(seen, still)
    before, after = actuals(series, N_WINDOWS), actuals(other, N_WINDOWS)
    np.testing.assert_array_equal(before.scale[: window + 1], after.scale[: window + 1])
    np.testing.assert_array_equal(before.known[: window + 1], after.known[: window + 1])
    np.testing.assert_array_equal(before.times, after.times)


@pytest.mark.parametrize("alias", CHOICES)
def test_actuals_of_many_series_are_those_of_each(alias):
    firsts = {"B": "2024-01-05", "ME": "2024-01-31", "QE": "2024-03-31", "YE": "2020-12-31"}
    first = np.datetime64(firsts.get(alias, "2024-01-01"), "ns")
    rng = np.random.default_rng(2)
    series = random_series(rng, 4, frequency=Frequency(alias), first=np.full(4, first))
    what = actuals(series, N_WINDOWS)
    for i, values in enumerate(series.values):
        for window in range(N_WINDOWS):
            end = cutoff(len(values), window, N_WINDOWS, HORIZON)
            steps = slice(end, end + HORIZON)
            seen = series.observed[i][steps]
            assert what.filled[window, i].tolist() == values[steps].tolist()
            np.testing.assert_array_equal(what.y[window, i], np.where(seen, values[steps], np.nan))
            assert what.observed[window, i].tolist() == seen.tolist()
            assert what.known[window, i] == values[end - 1]
            np.testing.assert_array_equal(what.times[window, i], series.times(i, end, end + HORIZON))
            assert what.cutoffs[window, i] == series.times(i, end - 1, end)[0]
            masked = np.where(series.observed[i], values, np.nan)[:end]
            np.testing.assert_allclose(what.scale[window, i], scale_by_definition(masked, 4), rtol=1e-12)
