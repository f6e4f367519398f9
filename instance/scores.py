"""What metrics are made of, summed series by series so that chunks add up to the whole. Pure. Runs in the worker."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from instance.actuals import Actuals
from instance.sharpe import PortfolioReturns, merge, portfolio_returns

Floats = npt.NDArray[np.float64]

SUMS = (
    "absolute_error", "squared_error", "steps", "scaled_error", "scaled_steps",
    "pinball", "size", "covered", "direction_hits", "directions",
)  # fmt: skip


@dataclass(frozen=True)
class SeriesScores:
    """Sums over windows and steps, one number a series: every metric is a ratio of two of them.

    Steps that were not observed are in none. 80 bytes a series, whatever the horizon.

    Parameters
    ----------
    levels : tuple of float
        Quantile levels.
    absolute_error, squared_error : float64 arrays, shape (n_series,)
        Sums of |y - f| and (y - f)^2, f the point forecast; NaN or inf where they are beyond a float.
    steps : float64 array, shape (n_series,)
        Observed steps.
    scaled_error, scaled_steps : float64 arrays, shape (n_series,)
        Sum of |y - f| over the scale of its window, and its steps, where the scale is defined.
    pinball : float64 array, shape (n_series,)
        Sum of the pinball loss over steps and levels.
    size : float64 array, shape (n_series,)
        Sum of |y|.
    covered : float64 array, shape (n_series,)
        Steps whose value is within `interval`, borders included.
    direction_hits, directions : float64 arrays, shape (n_series,)
        Steps that moved the way they were forecast to, and those that moved.
    returns : PortfolioReturns or None
        Returns of trading on the forecasts; None when they were not asked for.
    """

    levels: tuple[float, ...]
    absolute_error: Floats
    squared_error: Floats
    steps: Floats
    scaled_error: Floats
    scaled_steps: Floats
    pinball: Floats
    size: Floats
    covered: Floats
    direction_hits: Floats
    directions: Floats
    returns: PortfolioReturns | None = None

    def __len__(self) -> int:
        return len(self.steps)


def interval(levels: Sequence[float]) -> tuple[int, int] | None:
    """Return where the outermost symmetric pair of the levels is, such as 0.1 and 0.9; None when there is no pair."""
    by_level = sorted(range(len(levels)), key=lambda index: levels[index])
    for low in by_level:
        for high in by_level:
            if levels[low] < levels[high] and np.isclose(levels[low] + levels[high], 1.0, rtol=0, atol=1e-9):
                return low, high
    return None


def score_chunk(
    what: Actuals,
    point: Sequence[Floats] | Floats,
    quantiles: Sequence[Floats] | Floats,
    levels: Sequence[float],
    *,
    transaction_cost_bps: float | None = None,
) -> SeriesScores:
    """Sum up what the metrics of some series need.

    Parameters
    ----------
    what : Actuals
        What came, of n_series series in n_windows windows of horizon steps.
    point : float64 arrays, shape (n_series, horizon), one a window
        Point forecasts; an array (n_windows, n_series, horizon) will do.
    quantiles : float64 arrays, shape (n_series, horizon, n_levels), one a window
        Quantile forecasts.
    levels : sequence of float
        Quantile levels in (0, 1), in the order of the quantiles.
    transaction_cost_bps : float, optional
        Cost of turning a position over, in basis points of its value; without it no returns are computed.
    """
    sums = {name: np.zeros(len(what.last)) for name in SUMS}
    with np.errstate(over="ignore", invalid="ignore"):
        for window, known in enumerate(what.known):
            truth = _Truth(what.filled[window], what.observed[window], known, what.scale[window])
            for name, values in _window_sums(truth, point[window], quantiles[window], levels).items():
                sums[name] += values
    return SeriesScores(tuple(levels), **sums, returns=_returns(what, point, transaction_cost_bps))


class ScoreTally:
    """Collects the scores of chunk after chunk; holds a few numbers a series and one return a timestamp."""

    def __init__(self) -> None:
        self._parts: list[SeriesScores] = []
        self._returns: PortfolioReturns | None = None

    def add(self, scores: SeriesScores) -> None:
        """Take the scores of one more chunk."""
        if scores.returns is not None:
            # At once, since chunks that share their timestamps would each keep a copy of them.
            self._returns = merge([*([self._returns] if self._returns else []), scores.returns])
        self._parts.append(scores)

    def total(self) -> SeriesScores:
        """Return the scores of all series, in the order of the chunks; at least one was added."""
        sums = {name: np.concatenate([getattr(part, name) for part in self._parts]) for name in SUMS}
        return SeriesScores(self._parts[0].levels, **sums, returns=self._returns)


def combine(parts: Iterable[SeriesScores]) -> SeriesScores:
    """Return the scores of all series of some chunks; metrics of it are those of the whole at once."""
    tally = ScoreTally()
    for part in parts:
        tally.add(part)
    return tally.total()


class _Truth(NamedTuple):
    """One window: values (n_series, horizon), where they were observed, last known value and scale (n_series,)."""

    values: Floats
    observed: npt.NDArray[np.bool_]
    known: Floats
    scale: Floats


def _window_sums(truth: _Truth, point: Floats, quantiles: Floats, levels: Sequence[float]) -> dict[str, Floats]:
    error = np.where(truth.observed, truth.values - point, 0.0)
    absolute = np.abs(error).sum(axis=1)
    steps = _count(truth.observed)
    scaled = np.isfinite(truth.scale)
    return {
        "absolute_error": absolute,
        "squared_error": np.einsum("sh,sh->s", error, error),
        "steps": steps,
        "scaled_error": np.where(scaled, absolute / truth.scale, 0.0),
        "scaled_steps": np.where(scaled, steps, 0.0),
        "pinball": _pinball(truth, quantiles, levels),
        "size": np.where(truth.observed, np.abs(truth.values), 0.0).sum(axis=1),
        "covered": _covered(truth, quantiles, levels),
        **_directions(truth, point),
    }


def _pinball(truth: _Truth, quantiles: Floats, levels: Sequence[float]) -> Floats:
    """Pinball loss max(a e, (a - 1) e) = |e| / 2 + (a - 1/2) e of the errors e, summed over steps and levels a."""
    total: Floats = np.zeros(len(truth.values))
    for index, level in enumerate(levels):
        # Level by level: the errors of one fit into the cache, those of all levels do not.
        error = np.where(truth.observed, truth.values - quantiles[..., index], 0.0)
        total += (level - 0.5) * error.sum(axis=1)
        total += 0.5 * np.abs(error, out=error).sum(axis=1)
    return total


def _covered(truth: _Truth, quantiles: Floats, levels: Sequence[float]) -> Floats:
    pair = interval(levels)
    if pair is None:
        return np.zeros(len(truth.values))
    low, high = quantiles[..., pair[0]], quantiles[..., pair[1]]
    inside = truth.observed & (low <= truth.values) & (truth.values <= high)
    return _count(inside)


def _directions(truth: _Truth, point: Floats) -> dict[str, Floats]:
    known = truth.known[:, np.newaxis]
    moved = truth.observed & (truth.values != known)
    hit = moved & (np.sign(truth.values - known) == np.sign(point - known))
    return {
        "direction_hits": _count(hit),
        "directions": _count(moved),
    }


def _count(marks: npt.NDArray[np.bool_]) -> Floats:
    return np.asarray(marks.sum(axis=1), dtype=np.float64)


def _returns(
    what: Actuals, point: Sequence[Floats] | Floats, transaction_cost_bps: float | None
) -> PortfolioReturns | None:
    if transaction_cost_bps is None:
        return None
    return portfolio_returns(
        what.last,
        what.filled,
        np.asarray(point),
        what.times,
        what.observed,
        transaction_cost_bps=transaction_cost_bps,
    )
