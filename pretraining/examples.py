"""Cut synthetic series into what the model sees and what it must forecast. Runs on a developer's computer."""

from dataclasses import dataclass

import numpy as np

from pretraining.curriculum import shares_at
from pretraining.draws import Floats, Ints, log_between, sometimes
from pretraining.series import draw

FEWEST_VISIBLE = 8
SMALLEST_SCALE = 0.02  # of the standard deviation: what counts as exact


@dataclass(frozen=True)
class Examples:
    """A batch.

    Parameters
    ----------
    context : float32 array, shape (n, context_length)
        NaN where a value is missing or before the series begins.
    target : float32 array, shape (n, horizon)
    scale : float32 array, shape (n, 1)
        What an error is divided by: as in MASE, the smaller of the mean absolute changes over one step and over one
        season (Hyndman and Koehler 2006, "Another look at measures of forecast accuracy", equation 3), at least a
        small share of the standard deviation.
    """

    context: Floats
    target: Floats
    scale: Floats


def examples(seed: int, step: int, progress: float, n: int, context_length: int, horizon: int) -> Examples:
    """Make the batch of one step: the same for the same seed, step and progress, whatever was made before.

    Parameters
    ----------
    seed, step : int
    progress : float
        Share of the training that is done, 0 to 1: chooses the kinds of series.
    n, context_length, horizon : int
        Size of the batch.
    """
    rng = np.random.default_rng([seed, step])
    drawn = draw(rng, shares_at(progress), n, context_length + horizon, context_length)
    values = _disturbed(rng, drawn.values)
    context, target = values[:, :context_length].copy(), values[:, context_length:].copy()
    visible = _visible(rng, n, context_length)
    begins = context_length - visible
    context[np.arange(context_length) < begins] = np.nan
    scale = mase_scale(context, drawn.periods)
    gaps = (sometimes(rng, 0.06, n) > 0) & (rng.random(context.shape) < 0.08)
    gaps[:, -FEWEST_VISIBLE:] = False
    context[gaps] = np.nan
    return Examples(context, target, scale)


def mase_scale(context: Floats, periods: Ints) -> Floats:
    """Return the scale described in `Examples`, from the visible values alone; constant contexts get 1."""
    one = np.nanmean(np.abs(np.diff(context, axis=1)), axis=1)
    smallest = one.copy()
    visible = np.isfinite(context).sum(axis=1)
    for period in np.unique(periods[periods > 1]):
        rows = (periods == period) & (visible > period)
        if rows.any():
            change = np.nanmean(np.abs(context[rows, period:] - context[rows, :-period]), axis=1)
            smallest[rows] = np.minimum(one[rows], change)
    spread = np.nanstd(context, axis=1)
    scale = np.maximum(smallest, SMALLEST_SCALE * spread)
    return np.asarray(np.where(spread > 1e-4, scale, 1.0)[:, np.newaxis], dtype=np.float32)


def _visible(rng: np.random.Generator, n: int, context_length: int) -> Ints:
    """Draw how many values are seen: all of them in half of the rows, else from very few on."""
    some = np.rint(log_between(rng, FEWEST_VISIBLE, context_length, (n, 1))).astype(np.int64)
    return np.where(rng.random((n, 1)) < 0.5, context_length, some)


def _disturbed(rng: np.random.Generator, values: Floats) -> Floats:
    """Turn some rows upside down, cut some off, round some, put outliers into some."""
    n = len(values)
    values = np.where(rng.random((n, 1)) < 0.2, -values, values)
    values = np.where(rng.random((n, 1)) < 0.03, np.maximum(values, 0), values)
    grid = log_between(rng, 0.02, 0.3, (n, 1))
    values = np.where(rng.random((n, 1)) < 0.06, np.rint(values / grid) * grid, values)
    outlier = (rng.random(values.shape, dtype=np.float32) < 0.01) * sometimes(rng, 0.05, n)
    return values + 3 * outlier * rng.standard_normal(values.shape, dtype=np.float32)
