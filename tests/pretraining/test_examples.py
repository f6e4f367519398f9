"""Training examples are the same for the same seed and step, and scaled without a look at the target. Runs anywhere."""

import numpy as np
import pytest

from pretraining.curriculum import FIRST, LAST, TAIL_FROM, WARM_UP_STEPS, rate_at, shares_at
from pretraining.examples import FEWEST_VISIBLE, SMALLEST_SCALE, examples, mase_scale
from pretraining.series import KINDS


def batch(seed=0, step=3, progress=0.6, n=64, context_length=128):
    return examples(seed, step, progress, n, context_length, 64)


def test_a_batch_depends_on_seed_step_and_progress_only():
    first, again = batch(), batch()

    for name in ("context", "target", "scale"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(batch(step=4).target, first.target)
    assert not np.array_equal(batch(seed=1).target, first.target)


def test_shapes_and_what_may_be_missing():
    made = batch(n=300)

    assert made.context.shape == (300, 128)
    assert made.target.shape == (300, 64)
    assert made.scale.shape == (300, 1)
    assert np.isfinite(made.target).all()
    assert (made.scale > 0).all()
    assert np.isfinite(made.context[:, -FEWEST_VISIBLE:]).all()
    assert 0.3 < np.mean(np.isfinite(made.context).all(axis=1)) < 0.6


def test_the_scale_is_the_smaller_change_over_a_step_and_over_a_season():
    season = np.tile(np.array([0.0, 4.0, 1.0, 3.0], dtype=np.float32), 4)[np.newaxis]
    slow, fast = (season + slope * np.arange(16, dtype=np.float32) for slope in (0.25, 2.0))

    assert mase_scale(slow, np.array([4]))[0, 0] == pytest.approx(1.0)
    assert mase_scale(fast, np.array([4]))[0, 0] == pytest.approx(np.abs(np.diff(fast)).mean())
    assert mase_scale(slow, np.array([1]))[0, 0] == pytest.approx(np.abs(np.diff(slow)).mean())


def test_the_scale_of_an_exact_season_is_a_small_share_of_its_deviation():
    context = np.tile(np.array([0.0, 4.0, 1.0, 3.0], dtype=np.float32), 4)[np.newaxis]

    assert mase_scale(context, np.array([4]))[0, 0] == pytest.approx(SMALLEST_SCALE * context.std())


def test_a_constant_context_is_not_divided_by_zero():
    assert mase_scale(np.full((1, 16), 3.0, dtype=np.float32), np.array([1]))[0, 0] == 1.0


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.2, 0.25, 0.7, 1.0])
def test_the_shares_of_the_kinds_add_up_to_one(progress):
    shares = shares_at(progress)

    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) <= set(KINDS)


def test_training_begins_with_exact_seasons_and_keeps_some_of_them():
    assert shares_at(0.0)["exact"] == FIRST["exact"] > 0.5
    assert shares_at(1.0) == pytest.approx(dict(LAST))
    assert shares_at(1.0)["exact"] > 0.2


def test_the_learning_rate_warms_up_stays_and_fades():
    assert rate_at(0, 0.0) == pytest.approx(1 / WARM_UP_STEPS)
    assert rate_at(10_000, TAIL_FROM) == 1.0
    assert 0.4 < rate_at(10_000, (1 + TAIL_FROM) / 2) < 0.6
    assert 0 < rate_at(10_000, 1.0) < 0.02
