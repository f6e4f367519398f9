"""Generated seasons repeat exactly, or wander as they should. Runs anywhere."""

import numpy as np
import pytest

from pretraining.seasons import draw_periods, draw_profiles, repeat, wander


def test_a_repeated_season_is_the_same_in_every_cycle():
    rng = np.random.default_rng(1)
    periods = np.array([4, 7, 12, 24, 168])

    values = repeat(rng, draw_profiles(rng, periods), periods, 512)

    for row, period in zip(values, periods, strict=True):
        np.testing.assert_array_equal(row[period:], row[:-period])
        assert row.std() > 0.1


def test_a_profile_has_mean_zero_and_deviation_one_over_its_own_cycle():
    periods = np.array([5, 12, 52] * 40)

    profiles = draw_profiles(np.random.default_rng(2), periods)

    for profile, period in zip(profiles, periods, strict=True):
        assert profile[:period].mean() == pytest.approx(0, abs=1e-5)
        assert profile[:period].std() == pytest.approx(1, abs=1e-3) or not profile[:period].any()


def test_most_profiles_differ_from_each_other():
    profiles = draw_profiles(np.random.default_rng(3), np.full(50, 12))

    assert len(np.unique(profiles.round(4), axis=0)) > 40


def test_a_season_shows_at_least_twice_in_the_context():
    periods = draw_periods(np.random.default_rng(4), 2000, context_length=64)

    assert periods.max() <= 32
    assert periods.min() >= 3
    assert np.mean(periods == 12) > 0.15


def test_a_wandering_season_with_steps_of_zero_repeats_exactly():
    rng = np.random.default_rng(5)
    periods = np.array([7, 12])

    values = wander(rng, draw_profiles(rng, periods), periods, 100, np.zeros((2, 1), dtype=np.float32))

    np.testing.assert_array_equal(values[0, 7:], values[0, :-7])
    np.testing.assert_array_equal(values[1, 12:], values[1, :-12])


def test_a_wandering_season_changes_from_cycle_to_cycle_by_its_step():
    rng = np.random.default_rng(6)
    periods = np.full(400, 12)

    values = wander(rng, draw_profiles(rng, periods), periods, 240, np.full((400, 1), 0.2, dtype=np.float32))

    assert (values[:, 12:] - values[:, :-12]).std() == pytest.approx(0.2, rel=0.05)
