"""Each kind of generated series is what its name says. Runs anywhere."""

import numpy as np
import pytest

from pretraining.curriculum import LAST
from pretraining.series import KINDS, counts, draw, exact, smooth, walk


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context_length", [16, 64, 512])
def test_every_kind_gives_finite_series_with_a_period_each(kind, context_length):
    drawn = KINDS[kind](np.random.default_rng(1), 40, context_length + 64, context_length)

    assert drawn.values.shape == (40, context_length + 64)
    assert np.isfinite(drawn.values).all()
    assert drawn.periods.shape == (40,)
    assert drawn.periods.min() >= 1


def test_a_good_part_of_the_exact_series_repeats_without_any_error():
    drawn = exact(np.random.default_rng(2), 400, 192, 128)

    repeats = [
        np.abs(row[period:] - row[:-period]).max() < 1e-5
        for row, period in zip(drawn.values, drawn.periods, strict=True)
    ]

    assert 0.1 < np.mean(repeats) < 0.5


def test_counts_are_whole_numbers_and_often_zero():
    values = counts(np.random.default_rng(3), 300, 200, 136).values

    np.testing.assert_array_equal(values, np.rint(values))
    assert values.min() == 0
    assert 0.3 < np.mean(values == 0) < 0.8


def test_walks_and_smooth_series_are_best_forecast_by_staying_close():
    rng = np.random.default_rng(4)

    for kind in (walk, smooth):
        values = kind(rng, 200, 256, 192).values
        change = np.abs(np.diff(values, axis=1)).mean(axis=1)
        assert np.median(change / values.std(axis=1)) < 0.2


def test_a_mixture_is_scaled_and_takes_every_kind():
    drawn = draw(np.random.default_rng(5), LAST, 500, 256, 192)

    assert drawn.values.shape == (500, 256)
    np.testing.assert_allclose(drawn.values.mean(axis=1), 0, atol=1e-3)
    assert np.mean(np.abs(drawn.values.std(axis=1) - 1) < 1e-2) > 0.95
    assert 0.15 < np.mean(drawn.periods == 1) < 0.6
