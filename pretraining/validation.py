"""Groups of fresh synthetic series that show what the model has learnt so far. Runs on a developer's computer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pretraining.draws import Floats, between
from pretraining.levels import noise, random_walk, trend
from pretraining.seasons import draw_profiles, repeat
from pretraining.series import counts

if TYPE_CHECKING:
    pass

SEED = 20_000_101
SERIES = 64
LITTLE_NOISE = 0.05
MEDIAN = 4


@dataclass(frozen=True)
class Group:
    """Series of one sort; `period` 1 compares with the last value.

    Parameters
    ----------
    values : float32 array, shape (n, context_length + horizon)
    period, context_length : int
    """

    values: Floats
    period: int
    context_length: int


def groups(horizon: int) -> dict[str, Group]:
    """Make the groups, always the same ones."""
    rng = np.random.default_rng(SEED)

    def seasonal(period: int, context_length: int, shape: str) -> Group:
        length = context_length + horizon
        return Group(_noisy(rng, _season(rng, period, length, shape), LITTLE_NOISE), period, context_length)

    walks = random_walk(rng, SERIES, 256 + horizon)
    trending = _season(rng, 12, 144 + horizon, "profile") + 2 * trend(rng, SERIES, 144 + horizon)
    few = counts(rng, SERIES, 256 + horizon, 256).values
    return {
        "sine 12": seasonal(12, 128, "sine"),
        "profile 12": seasonal(12, 96, "profile"),
        "profile 7": seasonal(7, 128, "profile"),
        "profile 24": seasonal(24, 512, "profile"),
        "profile 168": seasonal(168, 512, "profile"),
        "trend and season": Group(_noisy(rng, trending, 0.2), 12, 144),
        "random walk": Group(walks, 1, 256),
        "counts": Group(few, 1, 256),
    }


def ratios(model: Any, sets: Mapping[str, Group]) -> dict[str, float]:
    """Return the mean absolute error of the median over that of SeasonalNaive, group by group; below 1 is better."""
    import torch  # noqa: PLC0415 - seconds to import, and only for those who train

    found = {}
    model.eval()
    with torch.inference_mode():
        for name, group in sets.items():
            context = torch.from_numpy(group.values[:, : group.context_length])
            median = model(context=context).quantile_preds[:, MEDIAN].numpy()
            found[name] = _ratio(median, group)
    model.train()
    return found


def _ratio(median: Floats, group: Group) -> float:
    known, target = group.values[:, : group.context_length], group.values[:, group.context_length :]
    ahead = np.arange(target.shape[1]) % group.period
    naive = known[:, group.context_length - group.period + ahead]
    return float(np.abs(median - target).mean() / np.abs(naive - target).mean())


def _season(rng: np.random.Generator, period: int, length: int, shape: str) -> Floats:
    periods = np.full(SERIES, period)
    if shape == "sine":
        turn = between(rng, 0, 2 * np.pi, (SERIES, 1))
        return np.sin(2 * np.pi * np.arange(length, dtype=np.float32) / period + turn).astype(np.float32)
    return repeat(rng, draw_profiles(rng, periods), periods, length)


def _noisy(rng: np.random.Generator, values: Floats, share: float) -> Floats:
    return values + share * noise(rng, *values.shape)
