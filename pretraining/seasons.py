"""Draw seasons that repeat exactly, and seasons whose shape wanders. Runs on a developer's computer."""

import numpy as np

from pretraining.draws import Floats, Ints, between, log_between, scaled

USUAL_PERIODS = np.array([4, 5, 6, 7, 7, 12, 12, 12, 24, 24, 24, 24, 24, 30, 48, 48, 52, 60, 96, 144, 168])
SHORTEST_PERIOD = 3
CYCLES_TO_SEE = 2
HARMONICS = 6


def draw_periods(rng: np.random.Generator, n: int, context_length: int) -> Ints:
    """Draw season lengths, mostly usual ones, of which a context shows about two cycles at the least.

    Parameters
    ----------
    rng : numpy.random.Generator
    n : int
        How many.
    context_length : int
        Steps that the model gets to see; a season seen less than twice cannot be told from a trend.

    Returns
    -------
    int64 array, shape (n,)
        In steps.
    """
    longest = max(context_length // CYCLES_TO_SEE, SHORTEST_PERIOD + 1)
    usual = rng.choice(USUAL_PERIODS[longest >= USUAL_PERIODS], n)
    other = np.rint(log_between(rng, SHORTEST_PERIOD, longest, (n,))).astype(np.int64)
    return np.where(rng.random(n) < 0.75, usual, other)


def draw_profiles(rng: np.random.Generator, periods: Ints) -> Floats:
    """Draw one cycle for each period: sines, sums of harmonics, rough, smooth and sparse profiles, and blocks.

    Returns
    -------
    float32 array, shape (n, max(periods))
        Mean 0 and standard deviation 1 over the first `periods[i]` columns; what follows them means nothing.
    """
    n, longest = len(periods), int(periods.max())
    phase = _cycles(periods, longest)  # (n, longest)
    rough = rng.standard_normal((n, longest), dtype=np.float32)
    smooth = _smoothed(rough, periods)
    sparse = rough * (rng.random((n, longest)) < between(rng, 0.05, 0.5, (n, 1)))
    turned = np.mod(phase + rng.random((n, 1), dtype=np.float32), 1.0)
    blocks = (turned < between(rng, 0.1, 0.7, (n, 1))).astype(np.float32)
    sines = _harmonics(rng, phase, np.ones((n, 1, 1), dtype=np.int64))
    sums = _harmonics(rng, phase, rng.integers(1, HARMONICS + 1, (n, 1, 1)))
    kinds = np.stack([sines, sums, rough, smooth, sparse, blocks])  # (6, n, longest)
    drawn = rng.choice(len(kinds), n, p=[0.2, 0.3, 0.15, 0.2, 0.08, 0.07])
    return _standardised(kinds[drawn, np.arange(n)], periods)


def repeat(rng: np.random.Generator, profiles: Floats, periods: Ints, length: int) -> Floats:
    """Repeat each profile exactly for `length` steps from a random phase; float32, shape (n, length)."""
    return np.take_along_axis(profiles, _phases(rng, periods, length), axis=1)


def wander(rng: np.random.Generator, profiles: Floats, periods: Ints, length: int, step: Floats) -> Floats:
    """Repeat each profile, changed after every cycle by a random walk with steps of `step` (n, 1), shape (n, length).

    The seasonal state of exponential smoothing with additive errors moves in the same way (Hyndman, Koehler, Ord and
    Snyder 2008, "Forecasting with Exponential Smoothing", section 2.5).
    """
    phases = _phases(rng, periods, length)
    cycles = np.cumsum(phases == 0, axis=1)
    n, longest = profiles.shape
    changes = rng.standard_normal((n, int(cycles.max()) + 1, longest), dtype=np.float32) * step[:, :, np.newaxis]
    shapes = profiles[:, np.newaxis] + np.cumsum(changes, axis=1)  # (n, cycles, longest)
    return np.asarray(shapes[np.arange(n)[:, np.newaxis], cycles, phases])


def _cycles(periods: Ints, longest: int) -> Floats:
    return np.asarray(np.arange(longest) / periods[:, np.newaxis], dtype=np.float32)


def _phases(rng: np.random.Generator, periods: Ints, length: int) -> Ints:
    start = rng.integers(0, periods)
    return (start[:, np.newaxis] + np.arange(length)) % periods[:, np.newaxis]


def _harmonics(rng: np.random.Generator, phase: Floats, highest: Ints) -> Floats:
    n = len(phase)
    order = np.arange(1, HARMONICS + 1, dtype=np.float32)  # (harmonics,)
    decay = between(rng, 0.3, 2.0, (n, 1, 1))
    amplitude = rng.standard_normal((n, 1, HARMONICS), dtype=np.float32) * order**-decay * (order <= highest)
    turn = rng.random((n, 1, HARMONICS), dtype=np.float32)
    waves = np.sin(2 * np.pi * (phase[:, :, np.newaxis] * order + turn), dtype=np.float32)
    return np.asarray((waves * amplitude).sum(axis=2), dtype=np.float32)


def _smoothed(rough: Floats, periods: Ints) -> Floats:
    """Average neighbours around the cycle, so that its end meets its beginning."""
    column = np.arange(rough.shape[1])
    smooth: Floats = rough
    for reach in (1, 2):
        before = np.take_along_axis(smooth, (column - reach) % periods[:, np.newaxis], axis=1)
        after = np.take_along_axis(smooth, (column + reach) % periods[:, np.newaxis], axis=1)
        smooth = np.asarray((before + 2 * smooth + after) / 4, dtype=np.float32)
    return smooth


def _standardised(profiles: Floats, periods: Ints) -> Floats:
    inside = np.arange(profiles.shape[1]) < periods[:, np.newaxis]
    return scaled(profiles, inside)
