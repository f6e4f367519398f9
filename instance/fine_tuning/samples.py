"""Which values a fine-tuning learns from and is validated on: windows before the first cutoff. Runs in the worker."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from contracts.reasons import DatasetInvalid

Rows = npt.NDArray[np.float32]

FEWEST_KNOWN = 5
MOST_VALIDATION_SERIES = 2048
VALIDATION_BATCH = 64


class FlatSeries(Protocol):
    """All series end to end: values float64 (total,), and starts int64 (n_series + 1,) in it."""

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Values of all series."""

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each series begins, and the end of the last."""


@dataclass(frozen=True)
class Split:
    """Where each series that is long enough can be learnt from; int64 arrays (n,), positions in the flat values.

    The `target_length` values before the first cutoff are validation targets; those of training end before them.

    Parameters
    ----------
    starts, ends : int64 array
        Begin of the series, and the end of what is learnt from.
    series : int64 array
        Index of the series in the data.
    target_length : int
        Steps of a target.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    series: npt.NDArray[np.int64]
    target_length: int


def split(starts: npt.NDArray[np.int64], horizon: int, n_windows: int, target_length: int) -> Split:
    """Return what can be learnt from.

    Raises
    ------
    DatasetInvalid
        No series is long enough.
    """
    first_cutoffs = starts[1:] - n_windows * horizon
    ends = first_cutoffs - target_length
    needed = FEWEST_KNOWN + target_length
    kept = np.flatnonzero(ends - starts[:-1] >= needed)
    if not len(kept):
        longest = int(np.diff(starts).max(initial=0))
        raise DatasetInvalid(
            f"fine-tuning: expected a series of at least {needed + target_length + n_windows * horizon} values "
            f"({n_windows} backtest windows of {horizon}, {target_length} to validate on, {target_length} to predict, "
            f"{FEWEST_KNOWN} before them), found at most {longest}. Lower prediction_length or n_windows, or leave "
            "out ChronosFineTuned."
        )
    return Split(starts[:-1][kept], ends[kept], kept, target_length)


class Sampler:
    """Random training windows, each batch a function of the seed and the step alone, so that a resume needs no state.

    Every series is as likely as any other, since each counts the same in the metrics; the window's place in it is
    uniform.

    Parameters
    ----------
    values : float64 array, shape (total,)
        May be mapped from disk.
    split : Split
    context_length : int
        Most values before a target.
    seed : int
    """

    def __init__(self, values: npt.NDArray[np.float64], split: Split, context_length: int, seed: int) -> None:
        self.values = values
        self.split = split
        self.context_length = context_length
        self.seed = seed

    def batch(self, step: int, size: int) -> tuple[Rows, Rows]:
        """Return contexts (size, width <= context_length), NaN on the left, and targets (size, target_length).

        A window whose context is constant gets a target of NaN, which counts nothing: the model divides by the
        context's standard deviation, so it would outweigh all others.
        """
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.integers(len(self.split.starts), size=size)
        starts, ends = self.split.starts[chosen], self.split.ends[chosen]
        room = ends - starts - FEWEST_KNOWN - self.split.target_length + 1
        cutoffs = starts + FEWEST_KNOWN + np.floor(rng.random(size) * room).astype(np.int64)
        context, target = self.windows(starts, cutoffs)
        flat = np.nanmax(context, axis=1) == np.nanmin(context, axis=1)
        target[flat] = np.nan
        return context, target

    def windows(self, starts: npt.NDArray[np.int64], cutoffs: npt.NDArray[np.int64]) -> tuple[Rows, Rows]:
        """Return the values before and after some cutoffs; see `batch`."""
        width = int(min(self.context_length, (cutoffs - starts).max()))
        places = cutoffs[:, None] + np.arange(-width, self.split.target_length)
        rows = self.values[np.maximum(places, starts[:, None])].astype(np.float32)
        rows[places < starts[:, None]] = np.nan
        return rows[:, :width], rows[:, width:]

    def validation(self) -> list[tuple[Rows, Rows]]:
        """Return the validation windows in batches, of at most 2,048 series spread evenly over all."""
        series = validation_series(len(self.split.starts))
        parts = np.array_split(series, -(-len(series) // VALIDATION_BATCH))
        return [self.windows(self.split.starts[part], self.split.ends[part]) for part in parts]


def validation_series(count: int) -> npt.NDArray[np.int64]:
    """Return which of `count` series are validated on."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_VALIDATION_SERIES)).astype(np.int64))


def prepared(data: Any, split: Split, index: int, end: int) -> dict[str, Any]:
    """Return series `index` of `split` up to position `end`, with its covariates, as Chronos-2 wants it.

    Parameters
    ----------
    data : FlatSeries
        `past` and `known`, if it has them, are float64 arrays (n, total); covariates beyond the last value of a series
        are not looked at.
    split : Split
    index, end : int

    Returns
    -------
    dict
        A `chronos.chronos2.preprocess.PreparedInput`: context (1 + n_past + n_known, length) float32.
    """
    import torch  # noqa: PLC0415 - loaded with the first model, not with the module

    start = int(split.starts[index])
    rows = [np.asarray(data.values[start:end])[None]]
    counts = []
    for kind in ("past", "known"):
        covariates = covariate_rows(data, kind, int(split.series[index]), end - start)
        counts.append(len(covariates))
        rows.append(covariates)
    context = torch.from_numpy(np.concatenate(rows).astype(np.float32))
    return {
        "context": context,
        "future_covariates": torch.full((len(context), split.target_length), torch.nan),
        "n_targets": 1,
        "n_covariates": sum(counts),
        "n_future_covariates": counts[1],
    }


def covariate_rows(data: Any, kind: str, series: int, length: int) -> npt.NDArray[np.float64]:
    """Return the first `length` values of the covariates of a series, (n, length); n is 0 where there are none."""
    held = getattr(data, kind, None)
    if held is None:
        return np.empty((0, length))
    start = int(data.starts[series])
    return np.asarray(held[:, start : start + length])
