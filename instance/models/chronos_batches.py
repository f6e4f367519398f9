"""Panels as batches of left-padded rows for Chronos, like lengths together. Pure. Runs in the worker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instance.models.interface import KNOWN, PAST, Floats, Panel

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Rows of one call of a model; `variates` successive rows are one series: its target, then its covariates.

    Parameters
    ----------
    context : float32 array, shape (n_series * variates, width)
        NaN on the left of shorter series.
    future : float32 array, shape (n_series * variates, horizon), optional
        What is known of the steps to forecast, NaN elsewhere; None without covariates.
    variates : int
        Rows a series.
    """

    context: Rows
    future: Rows | None
    variates: int


@dataclass(frozen=True)
class Histories:
    """Every series of every window, one after the other, window by window.

    Parameters
    ----------
    values : list of float64 arrays, shape (length,) each
    past, known : list of float64 arrays, shape (n, length) and (n, length + horizon) each, optional
    context_length : int
        Steps a model looks back at most.
    """

    values: list[Floats]
    past: list[Floats] | None
    known: list[Floats] | None
    context_length: int

    @classmethod
    def of(cls, windows: Sequence[Panel], covariates: frozenset[str], context_length: int) -> "Histories":
        """Take from the panels what a model that uses `covariates` can use."""
        past = _joined([panel.past for panel in windows]) if PAST in covariates else None
        known = _joined([panel.known for panel in windows]) if KNOWN in covariates else None
        return cls([values for panel in windows for values in panel.values], past, known, context_length)

    @property
    def variates(self) -> int:
        """Rows a series needs: its own and one for each covariate."""
        return 1 + sum(len(rows[0]) for rows in (self.past, self.known) if rows)

    def order(self) -> npt.NDArray[np.intp]:
        """Return the indices of the series by length, so that a long one does not widen the batch of short ones."""
        lengths = np.fromiter((len(values) for values in self.values), dtype=np.intp, count=len(self.values))
        return np.argsort(np.minimum(lengths, self.context_length), kind="stable")

    def batch(self, indices: npt.NDArray[np.intp], horizon: int) -> Batch:
        """Return the rows of some series, at most `context_length` wide and no wider than the longest of them."""
        width = min(self.context_length, max(len(self.values[i]) for i in indices))
        if self.variates == 1:
            context = np.full((len(indices), width), np.nan, dtype=np.float32)
            for row, i in zip(context, indices, strict=True):
                tail = self.values[i][-width:]
                row[width - len(tail) :] = tail
            return Batch(context, None, 1)
        return self._with_covariates(indices, width, horizon)

    def _with_covariates(self, indices: npt.NDArray[np.intp], width: int, horizon: int) -> Batch:
        context = np.full((len(indices), self.variates, width), np.nan, dtype=np.float32)
        future = np.full((len(indices), self.variates, horizon), np.nan, dtype=np.float32)
        for rows, ahead, i in zip(context, future, indices, strict=True):
            length = len(self.values[i])
            shown = min(width, length)
            known = self.known[i] if self.known else np.empty((0, length + horizon))
            past = self.past[i] if self.past else np.empty((0, length))
            rows[0, width - shown :] = self.values[i][-shown:]
            rows[1 : 1 + len(past), width - shown :] = past[:, length - shown :]
            rows[1 + len(past) :, width - shown :] = known[:, length - shown : length]
            ahead[1 + len(past) :] = known[:, length : length + horizon]
        return Batch(context.reshape(-1, width), future.reshape(-1, horizon), self.variates)


def _joined(rows: Sequence[list[Floats] | None]) -> list[Floats] | None:
    joined = [row for panel in rows for row in panel or []]
    return joined or None
