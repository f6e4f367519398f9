"""Put seasons and levels together to the kinds of series the model learns from. Runs on a developer's computer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pretraining.draws import Floats, Ints, between, log_between, scaled, sometimes
from pretraining.levels import autoregressive, noise, random_walk, smooth_integrated, smooth_process, trend
from pretraining.seasons import draw_periods, draw_profiles, repeat, wander


@dataclass(frozen=True)
class Drawn:
    """Synthetic series.

    Parameters
    ----------
    values : float32 array, shape (n, length)
    periods : int64 array, shape (n,)
        Length of the season in steps; 1 where there is none.
    """

    values: Floats
    periods: Ints


Kind = Callable[[np.random.Generator, int, int, int], Drawn]


def exact(rng: np.random.Generator, n: int, length: int, context_length: int) -> Drawn:
    """Draw a season that repeats exactly, in half of the rows on a level that moves slowly, or with noise."""
    season, periods = _season(rng, n, length, context_length)
    longer, _ = _season(rng, n, length, context_length)
    season = season + 0.5 * sometimes(rng, 0.15, n) * longer
    slow = _any_of(rng, trend(rng, n, length), smooth_process(rng, n, length, shortest=length / 4))
    level = sometimes(rng, 0.4, n) * log_between(rng, 0.1, 3.0, (n, 1)) * slow
    swing = 1 + sometimes(rng, 0.2, n) * between(rng, 0.1, 0.6, (n, 1)) * smooth_process(rng, n, length, length / 3)
    rest = sometimes(rng, 0.5, n) * log_between(rng, 1e-3, 0.1, (n, 1)) * noise(rng, n, length)
    return Drawn(season * swing + level + rest, periods)


def structural(rng: np.random.Generator, n: int, length: int, context_length: int) -> Drawn:
    """Draw a level, one or two seasons and noise, each present or not, added up or multiplied."""
    season, periods = _season(rng, n, length, context_length)
    second, _ = _season(rng, n, length, context_length)
    level = np.zeros((n, length), dtype=np.float32)
    for part, probability in (
        (smooth_process(rng, n, length), 0.3),
        (trend(rng, n, length), 0.5),
        (random_walk(rng, n, length), 0.3),
        (smooth_integrated(rng, n, length), 0.2),
        (autoregressive(rng, n, length), 0.3),
    ):
        level += sometimes(rng, probability, n) * log_between(rng, 0.2, 2.0, (n, 1)) * part
    seasonal = sometimes(rng, 0.75, n)
    season = seasonal * (log_between(rng, 0.2, 2.0, (n, 1)) * season + sometimes(rng, 0.15, n) * 0.5 * second)
    rest = log_between(rng, 0.01, 0.8, (n, 1)) * noise(rng, n, length)
    height = np.exp(0.6 * np.clip(level, -4, 4))
    product = height * (1 + 0.3 * season + 0.2 * rest)
    values = np.where(sometimes(rng, 0.3, n) > 0, product, level + season + rest)
    return Drawn(values, np.where(seasonal[:, 0] > 0, periods, 1))


def evolving(rng: np.random.Generator, n: int, length: int, context_length: int) -> Drawn:
    """Draw a level and a season that both wander, as the states of exponential smoothing do."""
    periods = draw_periods(rng, n, context_length)
    step = sometimes(rng, 0.7, n) * log_between(rng, 0.03, 0.4, (n, 1))
    season = wander(rng, draw_profiles(rng, periods), periods, length, step)
    level = _any_of(rng, random_walk(rng, n, length), smooth_integrated(rng, n, length))
    level = log_between(rng, 0.1, 3.0, (n, 1)) * level + sometimes(rng, 0.4, n) * trend(rng, n, length)
    rest = log_between(rng, 0.01, 0.5, (n, 1)) * noise(rng, n, length)
    grows = sometimes(rng, 0.35, n) > 0
    values = np.where(
        grows, np.exp(0.4 * np.clip(level, -5, 5)) * (1 + 0.3 * season + 0.3 * rest), level + season + rest
    )
    return Drawn(values, periods)


def walk(rng: np.random.Generator, n: int, length: int, context_length: int) -> Drawn:
    """Draw random walks and exponentials of them, as of prices."""
    del context_length
    path = random_walk(rng, n, length)
    rest = sometimes(rng, 0.3, n) * log_between(rng, 1e-3, 0.1, (n, 1)) * noise(rng, n, length)
    price = np.exp(log_between(rng, 0.1, 1.0, (n, 1)) * np.clip(path, -6, 6))
    return Drawn(np.where(sometimes(rng, 0.4, n) > 0, price, path + rest), np.ones(n, dtype=np.int64))


def smooth(rng: np.random.Generator, n: int, length: int, context_length: int) -> Drawn:
    """Draw integrated series, smooth processes and trends, with little noise, sometimes with a small season."""
    season, periods = _season(rng, n, length, context_length)
    base = _any_of(rng, smooth_integrated(rng, n, length), smooth_process(rng, n, length, shortest=8.0))
    base = base + sometimes(rng, 0.4, n) * log_between(rng, 0.3, 3.0, (n, 1)) * trend(rng, n, length)
    seasonal = sometimes(rng, 0.4, n)
    rest = log_between(rng, 1e-3, 0.1, (n, 1)) * noise(rng, n, length)
    values = base + seasonal * log_between(rng, 0.02, 0.5, (n, 1)) * season + rest
    return Drawn(values, np.where(seasonal[:, 0] > 0, periods, 1))


def stationary(rng: np.random.Generator, n: int, length: int, context_length: int) -> Drawn:
    """Draw series that come back to their mean: autoregressions, cycles that fade, plain noise."""
    del context_length
    part = sometimes(rng, 0.8, n) * autoregressive(rng, n, length)
    return Drawn(part + log_between(rng, 0.02, 1.0, (n, 1)) * noise(rng, n, length), np.ones(n, dtype=np.int64))


def counts(rng: np.random.Generator, n: int, length: int, context_length: int) -> Drawn:
    """Draw small counts, many of them zero, whose rate may have a season and may drift."""
    season, periods = _season(rng, n, length, context_length)
    seasonal = sometimes(rng, 0.5, n)
    drift = sometimes(rng, 0.5, n) * smooth_process(rng, n, length, shortest=length / 8)
    rate = log_between(rng, 0.05, 8.0, (n, 1)) * np.exp(0.5 * np.clip(drift + seasonal * season, -4, 4))
    values = rng.poisson(np.minimum(rate, 200)).astype(np.float32)
    return Drawn(values, np.where(seasonal[:, 0] > 0, periods, 1))


KINDS: Mapping[str, Kind] = {
    kind.__name__: kind for kind in (exact, structural, evolving, walk, smooth, stationary, counts)
}


def draw(rng: np.random.Generator, shares: Mapping[str, float], n: int, length: int, context_length: int) -> Drawn:
    """Draw `n` series of the kinds in `shares`, in random order.

    Parameters
    ----------
    rng : numpy.random.Generator
    shares : mapping of str to float
        Share of each kind, a key of `KINDS`; together 1.
    n, length : int
        Series, and steps of each.
    context_length : int
        Steps of them that the model will see; seasons are chosen to show in it.

    Returns
    -------
    Drawn
        Values scaled to mean 0 and standard deviation 1 a row.
    """
    how_many = rng.multinomial(n, list(shares.values()))
    parts = [
        KINDS[kind](rng, int(count), length, context_length)
        for kind, count in zip(shares, how_many, strict=True)
        if count
    ]
    order = rng.permutation(n)
    values = scaled(np.concatenate([part.values for part in parts])[order])
    return Drawn(values, np.concatenate([part.periods for part in parts])[order])


def _season(rng: np.random.Generator, n: int, length: int, context_length: int) -> tuple[Floats, Ints]:
    periods = draw_periods(rng, n, context_length)
    return repeat(rng, draw_profiles(rng, periods), periods, length), periods


def _any_of(rng: np.random.Generator, first: Floats, second: Floats) -> Floats:
    return np.where(rng.random((len(first), 1)) < 0.5, first, second)
