"""Draw what a series does besides its season: trends, random walks, noise. Runs on a developer's computer."""

import numpy as np

from pretraining.draws import Floats, between, log_between, scaled, sometimes

FEATURES = 12
RAREST_SHRINKAGE = 0.02
HEAVY_VARIANCE = 1 - np.log(RAREST_SHRINKAGE)  # of a normal over the root of a uniform, cut off below


def smooth_process(rng: np.random.Generator, n: int, length: int, shortest: float = 4.0) -> Floats:
    """Draw Gaussian processes with squared-exponential or rational-quadratic kernels of random length scale.

    Random Fourier features stand for the kernels (Rahimi and Recht 2007, "Random Features for Large-Scale Kernel
    Machines", section 3); that such draws teach a forecaster is shown by KernelSynth (Ansari et al. 2024, "Chronos:
    Learning the Language of Time Series", section 4.2).

    Parameters
    ----------
    shortest : float
        Shortest length scale, in steps; the longest is the length.

    Returns
    -------
    float32 array, shape (n, length)
        Variance about 1.
    """
    scale = log_between(rng, shortest, length, (n, 1))
    frequency = rng.standard_normal((n, FEATURES), dtype=np.float32) / scale
    many_scales = sometimes(rng, 0.4, n) > 0
    gamma = np.sqrt(np.maximum(rng.random((n, FEATURES), dtype=np.float32), 0.1))
    frequency = np.where(many_scales, frequency / gamma, frequency)
    turn = between(rng, 0, 2 * np.pi, (n, FEATURES))
    steps = np.arange(length, dtype=np.float32)
    total = np.zeros((n, length), dtype=np.float32)
    for feature in range(FEATURES):  # one feature at a time keeps the arrays in the processor's cache
        total += np.cos(frequency[:, feature, np.newaxis] * steps + turn[:, feature, np.newaxis])
    return np.asarray(total * np.sqrt(2 / FEATURES), dtype=np.float32)


def trend(rng: np.random.Generator, n: int, length: int) -> Floats:
    """Draw straight, piecewise straight, damped and exponential trends and level shifts; float32, shape (n, length)."""
    share = np.linspace(0, 1, length, dtype=np.float32)
    straight = np.broadcast_to(share, (n, length))
    knots = _events(rng, n, length, most=5.0)
    bent = np.cumsum(np.cumsum(knots, axis=1), axis=1) / length * 4
    shifts = np.cumsum(_events(rng, n, length, most=4.0), axis=1)
    growth = np.exp(between(rng, -2.0, 3.0, (n, 1)) * share)
    damped = 1 - np.exp(-log_between(rng, 1.0, 8.0, (n, 1)) * share)
    kinds = np.stack([straight, bent, shifts, growth, damped])
    drawn = kinds[rng.choice(len(kinds), n, p=[0.4, 0.2, 0.15, 0.15, 0.1]), np.arange(n)]
    return np.asarray(scaled(drawn) * rng.choice([-1.0, 1.0], (n, 1)), dtype=np.float32)


def random_walk(rng: np.random.Generator, n: int, length: int) -> Floats:
    """Draw random walks, some with drift, changing volatility, or heavy tails; scaled to about 1 over the length."""
    volatility = np.exp(0.6 * sometimes(rng, 0.4, n) * smooth_process(rng, n, length))
    drift = 0.05 * sometimes(rng, 0.5, n) * rng.standard_normal((n, 1), dtype=np.float32)
    steps = noise(rng, n, length) * volatility + drift
    return np.asarray(np.cumsum(steps, axis=1) * (2 / np.sqrt(length)), dtype=np.float32)


def smooth_integrated(rng: np.random.Generator, n: int, length: int) -> Floats:
    """Draw sums of autocorrelated changes, as of populations or prices' indices; float32, shape (n, length)."""
    decay = 1 - log_between(rng, 0.02, 0.5, (n, 1))
    lag = np.arange(length, dtype=np.float32)
    changes = _filtered(rng.standard_normal((n, length), dtype=np.float32), decay**lag)
    drift = 2 * sometimes(rng, 0.6, n) * rng.standard_normal((n, 1), dtype=np.float32)
    return scaled(np.cumsum(changes + drift, axis=1, dtype=np.float32))


def autoregressive(rng: np.random.Generator, n: int, length: int) -> Floats:
    """Draw first-order autoregressions and damped cycles; float32, shape (n, length), each scaled."""
    decay = 1 - log_between(rng, 3e-3, 0.9, (n, 1))
    cycle = sometimes(rng, 0.5, n) * 2 * np.pi / log_between(rng, 3.0, max(length / 4, 4.0), (n, 1))
    lag = np.arange(length, dtype=np.float32)
    return scaled(_filtered(rng.standard_normal((n, length), dtype=np.float32), decay**lag * np.cos(cycle * lag)))


def noise(rng: np.random.Generator, n: int, length: int) -> Floats:
    """Draw independent noise of variance 1, normal for three rows in four and heavy-tailed for the others.

    No row is centred on its own mean: a sum of centred noise would come back to where it began.
    """
    normal = rng.standard_normal((n, length), dtype=np.float32)
    shrink = np.maximum(rng.random((n, length), dtype=np.float32), RAREST_SHRINKAGE)
    tails = 1 / np.sqrt(shrink * HEAVY_VARIANCE)
    return np.where(rng.random((n, 1)) < 0.25, normal * tails, normal).astype(np.float32)


def _events(rng: np.random.Generator, n: int, length: int, most: float) -> Floats:
    happens = rng.random((n, length), dtype=np.float32) < between(rng, 0.5, most, (n, 1)) / length
    return np.where(happens, rng.standard_normal((n, length), dtype=np.float32), np.float32(0))


def _filtered(impulses: Floats, kernel: Floats) -> Floats:
    """Convolve each row with its kernel, causally: zero padding to twice the length keeps the end out of the start."""
    length = impulses.shape[1]
    product = np.fft.rfft(impulses, 2 * length, axis=1) * np.fft.rfft(kernel, 2 * length, axis=1)
    return np.asarray(np.fft.irfft(product, 2 * length, axis=1)[:, :length], dtype=np.float32)
