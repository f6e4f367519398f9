"""Fine-tuning: what is learnt from, the settings of a request, the schedule of its steps."""

import itertools

import numpy as np
import pytest

from contracts.documents import check
from contracts.reasons import DatasetInvalid
from instance.fine_tuning.samples import Sampler, split
from instance.fine_tuning.schedule import learning_rate, segment_ends
from instance.fine_tuning.settings import settings_of
from instance.series_store import FlatSeries
from tests.instance.fine_tuning_attempt import series

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("n_windows", [1, 3])
def test_nothing_after_the_first_cutoff_is_learnt_from_or_validated_on(n_windows: int) -> None:
    data, horizon = series(), 8
    lengths = np.diff(data.starts)
    hidden = data.values.copy()
    for start, length in zip(data.starts[:-1], lengths, strict=True):
        hidden[start + length - n_windows * horizon : start + length] = np.nan
    parts = split(data.starts, horizon, n_windows, horizon)
    seen, blind = (Sampler(values, parts, 64, seed=1) for values in (data.values, hidden))
    for step in range(1, 30):
        for one, other in zip(seen.batch(step, 32), blind.batch(step, 32), strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(seen.validation(), blind.validation(), strict=True):
        np.testing.assert_array_equal(one[1], other[1])
        assert np.isfinite(other[1]).all()


def test_training_targets_end_before_the_validation_targets() -> None:
    data = FlatSeries(np.arange(200.0), np.array([0, 100, 200]), None, None)
    sampler = Sampler(data.values, split(data.starts, 8, 2, 8), 64, seed=1)
    targets = np.concatenate([sampler.batch(step, 64)[1] for step in range(1, 30)])
    [(_, validated)] = sampler.validation()
    assert validated.tolist() == [list(range(76, 84)), list(range(176, 184))]
    assert (targets.max(axis=1) % 100 < 76).all()
    assert {75, 175} <= set(targets.max(axis=1).tolist())  # and they do come as close as they may


def test_windows_are_whole_pieces_of_one_series() -> None:
    values = np.concatenate([np.arange(30.0), 1000 + np.arange(60.0)])
    sampler = Sampler(values, split(np.array([0, 30, 90]), 4, 1, 4), 16, seed=3)
    context, target = sampler.batch(1, 200)
    both = np.concatenate([context, target], axis=1)
    steps = np.diff(both, axis=1)
    assert np.isnan(both).any()
    assert (steps[~np.isnan(steps)] == 1).all()
    assert (both[:, -1] < 1000).any()
    assert (both[:, -1] >= 1000).any()


def test_batches_depend_on_the_seed_and_the_step_alone() -> None:
    data = series()
    parts = split(data.starts, 8, 1, 8)
    one, other = Sampler(data.values, parts, 64, seed=1), Sampler(data.values, parts, 64, seed=1)
    one.batch(1, 8)
    np.testing.assert_array_equal(one.batch(2, 8)[0], other.batch(2, 8)[0])
    assert not np.array_equal(one.batch(2, 8)[1], one.batch(3, 8)[1])
    assert not np.array_equal(one.batch(2, 8)[1], Sampler(data.values, parts, 64, seed=2).batch(2, 8)[1])


def test_constant_contexts_count_nothing() -> None:
    values = np.r_[np.full(100, 3.0), np.arange(100.0)]
    sampler = Sampler(values, split(np.array([0, 100, 200]), 4, 1, 4), 16, seed=3)
    context, target = sampler.batch(1, 100)
    constant = context[:, -1] == context[:, -2]
    assert constant.any()
    assert np.isnan(target[constant]).all()
    assert np.isfinite(target[~constant]).all()


def test_series_that_are_all_too_short_are_refused_with_what_is_needed() -> None:
    with pytest.raises(DatasetInvalid, match=r"a series of at least 37 values .* found at most 36"):
        split(np.array([0, 36, 50]), 8, 2, 8)
    assert split(np.array([0, 37, 50]), 8, 2, 8).series.tolist() == [0]


def test_settings_come_from_the_request() -> None:
    request = check("run_request", {"fine_tuning_steps": 50, "fine_tuning_mode": "lora", "seed": 3})
    wanted = settings_of(request, horizon=12, n_windows=2)
    assert (wanted.steps, wanted.mode, wanted.seed, wanted.horizon, wanted.segment) == (50, "lora", 3, 12, 2)
    assert wanted.learning_rate is None


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, 100, 1.0) for step in range(1, 101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(a > b > 0 for a, b in itertools.pairwise(rates[4:]))
    assert rates[52] == pytest.approx(0.5, abs=0.01)
    assert learning_rate(1, 1, 1.0) == 1.0


@pytest.mark.parametrize(
    ("done", "steps", "segment", "ends"),
    [(0, 10, 4, [4, 8, 10]), (4, 10, 4, [8, 10]), (8, 8, 4, []), (0, 3, 1, [1, 2, 3]), (0, 1, 1, [1])],
)
def test_segments_end_at_every_checkpoint_and_at_the_last_step(
    done: int, steps: int, segment: int, ends: list[int]
) -> None:
    assert segment_ends(done, steps, segment) == ends
