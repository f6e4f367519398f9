"""Random numbers in the shapes the generators need. Runs on a developer's computer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Shape = tuple[int, ...]
SMALLEST_SPREAD = 1e-6


def between(rng: np.random.Generator, low: float, high: float, shape: Shape) -> Floats:
    """Draw uniformly from low to high; float32 of `shape`."""
    return rng.random(shape, dtype=np.float32) * np.float32(high - low) + np.float32(low)


def log_between(rng: np.random.Generator, low: float, high: float, shape: Shape) -> Floats:
    """Draw log-uniformly from low to high, both above 0; float32 of `shape`."""
    return np.exp(between(rng, float(np.log(low)), float(np.log(high)), shape))


def sometimes(rng: np.random.Generator, probability: float, n: int) -> Floats:
    """Draw 1 with the probability, else 0; float32, shape (n, 1)."""
    return (rng.random((n, 1)) < probability).astype(np.float32)


def scaled(values: Floats, inside: NDArray[np.bool_] | None = None) -> Floats:
    """Give each row mean 0 and standard deviation 1 over what is `inside` (default: all); constant rows become 0."""
    where: Any = True if inside is None else inside
    mean = values.mean(axis=1, keepdims=True, where=where)
    spread = values.std(axis=1, keepdims=True, where=where)
    return np.asarray((values - mean) / np.maximum(spread, SMALLEST_SPREAD), dtype=np.float32)
