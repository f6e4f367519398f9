"""Generated noise, random walks and trends have the statistics they are named for. Runs anywhere."""

import numpy as np
import pytest

from pretraining.levels import autoregressive, noise, random_walk, smooth_integrated, smooth_process, trend


def test_noise_has_variance_one_and_rows_are_not_centred():
    values = noise(np.random.default_rng(1), 4000, 100)

    assert values.var() == pytest.approx(1, rel=0.03)
    assert values.mean(axis=1).std() == pytest.approx(0.1, rel=0.1)


def test_a_quarter_of_the_noise_has_heavy_tails():
    values = noise(np.random.default_rng(2), 4000, 200)

    heaviest = np.abs(values).max(axis=1)
    assert 0.15 < np.mean(heaviest > 4.5) < 0.3


def test_a_random_walk_does_not_come_back_to_where_it_began():
    values = random_walk(np.random.default_rng(3), 3000, 400)

    spread = values.std(axis=0)
    assert spread[399] > 1.25 * spread[200] > 1.25 * 1.25 * spread[100]


@pytest.mark.parametrize("draw", [smooth_process, trend, random_walk, smooth_integrated, autoregressive, noise])
def test_every_level_is_finite_and_moves(draw):
    values = draw(np.random.default_rng(4), 200, 128)

    assert values.shape == (200, 128)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert np.mean(values.std(axis=1) > 0.01) > 0.9


def test_smooth_series_change_less_from_step_to_step_than_noise():
    def roughness(values):
        return np.abs(np.diff(values, axis=1)).mean() / values.std()

    rng = np.random.default_rng(5)
    rough = roughness(noise(rng, 300, 256))

    assert roughness(smooth_integrated(rng, 300, 256)) < 0.1 * rough
    assert roughness(smooth_process(rng, 300, 256)) < 0.3 * rough
