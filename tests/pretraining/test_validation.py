"""The figures shown during a training are ratios to repeating the last season. Runs anywhere."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pretraining.loss import damped, pinball
from pretraining.settings import QUANTILE_LEVELS
from pretraining.validation import MEDIAN, groups, ratios

HORIZON = 64


class Repeats:
    """Forecasts the last season of the period that it is told, plus an error."""

    def __init__(self, period, error=0.0):
        self.period, self.error = period, error

    def __call__(self, context):
        ahead = torch.arange(HORIZON) % self.period
        last = context[:, context.shape[1] - self.period + ahead] + self.error
        return SimpleNamespace(quantile_preds=last.unsqueeze(1).expand(-1, len(QUANTILE_LEVELS), -1))

    def eval(self):
        """Change nothing: there is nothing to switch."""

    def train(self):
        """Change nothing: there is nothing to switch."""


@pytest.mark.parametrize(("name", "period"), [("sine 12", 12), ("profile 168", 168), ("random walk", 1), ("counts", 1)])
def test_repeating_the_last_season_has_the_ratio_one(name, period):
    chosen = {name: groups(HORIZON)[name]}

    assert ratios(Repeats(period), chosen)[name] == pytest.approx(1, rel=1e-5)
    assert ratios(Repeats(period, error=1.0), chosen)[name] > 1.05


def test_the_groups_are_always_the_same_and_leave_seasonal_naive_little_error():
    first, again = groups(HORIZON), groups(HORIZON)

    for name, group in first.items():
        np.testing.assert_array_equal(group.values, again[name].values)
    sines = first["sine 12"]
    assert np.abs(sines.values[:, 12:] - sines.values[:, :-12]).mean() < 0.1


def test_the_median_is_the_middle_level():
    assert QUANTILE_LEVELS[MEDIAN] == 0.5


def test_the_loss_of_a_single_level_is_the_scaled_absolute_error():
    target = torch.tensor([[1.0, 2.0, 4.0]])
    quantiles = torch.full((1, len(QUANTILE_LEVELS), 3), 2.0)

    exact = pinball(target.unsqueeze(1).expand(-1, len(QUANTILE_LEVELS), -1), target, torch.ones(1, 1))
    off = pinball(quantiles, target, torch.full((1, 1), 2.0))

    weights = 1 / (1 + np.arange(3) / 8)
    assert exact.item() == 0
    assert off.item() == pytest.approx(np.average([1, 0, 2], weights=weights) / 2, rel=1e-5)


def test_the_loss_punishes_a_low_quantile_that_is_too_high_more_than_one_that_is_too_low():
    def at(shift):
        quantiles = torch.zeros(1, len(QUANTILE_LEVELS), 1)
        quantiles[:, 0] = shift
        return pinball(quantiles, torch.zeros(1, 1), torch.ones(1, 1)).item()

    assert at(1.0) == pytest.approx(9 * at(-1.0), rel=1e-5)


def test_large_losses_are_damped_and_small_ones_are_not():
    assert damped(torch.tensor([0.01])).item() == pytest.approx(0.01, rel=0.01)
    assert damped(torch.tensor([1000.0])).item() < 5.1
