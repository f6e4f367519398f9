"""Quantiles of normal forecasts, at any levels. Pure. Runs in the worker and its child processes."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from instance.models.interface import Floats

# The share of a normal distribution within one standard deviation of its mean, in per cent: the interval at this level
# that a library returns is as wide as the standard deviation on either side.
ONE_SIGMA_LEVEL = 100 * (2 * NormalDist().cdf(1.0) - 1)


def normal_quantiles(point: Floats, spread: Floats, levels: Sequence[float]) -> Floats:
    """Return the quantiles of normal distributions; they do not cross, and at level 0.5 they are the mean.

    Parameters
    ----------
    point, spread : float64 arrays, shape (...,)
        Mean and standard deviation, the latter not negative.
    levels : sequence of float
        In (0, 1), any order.

    Returns
    -------
    float64 array, shape (..., n_levels)
        In the order of the levels.
    """
    z = np.array([NormalDist().inv_cdf(level) for level in levels])
    quantiles: Floats = point[..., np.newaxis] + spread[..., np.newaxis] * z
    return quantiles
