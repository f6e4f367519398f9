"""Fit one series window after window, with a fallback where the model fails. Runs in the worker's child processes."""

import contextlib
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from instance.models.interface import Floats
from instance.models.seasonal_naive import SeasonalNaive, seasonal_naive

Parameters = dict[str, Any]

LONGEST_REASON = 200
CONSTANT = "constant"


class Seen(NamedTuple):
    """What a fit may see: values (length,), and covariates known in advance (n_known, length + horizon) if any."""

    values: Floats
    known: Floats | None


class Fit(NamedTuple):
    """A forecast of one series: mean and standard deviation (horizon,), JSON-able parameters, why it failed if so."""

    point: Floats
    spread: Floats
    parameters: Parameters
    failure: str | None = None


class Method(Protocol):
    """How a statistical model treats one series. Each may raise; the series is then forecast by the fallback."""

    def choose(self, seen: Seen, horizon: int) -> Fit:
        """Search the form, and estimate its parameters."""

    def estimate(self, seen: Seen, horizon: int, form: Parameters) -> Fit:
        """Estimate the parameters of the form that `form`, the parameters of an earlier window, has."""

    def apply(self, seen: Seen, horizon: int, parameters: Parameters) -> Fit:
        """Take the parameters as they are."""


@dataclass(frozen=True)
class SeriesWindows:
    """One series at successive cutoffs.

    Parameters
    ----------
    values : list of float64 arrays, shape (length,) each
        Up to each cutoff. Each window has an array of its own, so that no fit can reach what comes later.
    known : list
        Covariates known in advance (n_known, length + horizon) or None, one a window.
    fitted : dict, optional
        Parameters to take as they are.
    """

    values: list[Floats]
    known: list[Floats | None]
    fitted: Parameters | None = None


@dataclass(frozen=True)
class SeriesTask:
    """Some series to forecast in every window; `search_each` chooses the form anew in each."""

    method: Method
    series: list[SeriesWindows]
    season_length: int
    horizon: int
    search_each: bool


def forecast_series(task: SeriesTask) -> list[list[Fit]]:
    """Return the fits of each series, one a window; a constant series needs no model and goes on as it is."""
    return [_windows(task, series) for series in task.series]


def _windows(task: SeriesTask, series: SeriesWindows) -> list[Fit]:
    fits: list[Fit] = []
    form: Parameters | None = None
    for values, known in zip(series.values, series.known, strict=True):
        fit = _one(task, Seen(values, known), series.fitted, form)
        if _has_form(fit.parameters) and not task.search_each:
            form = fit.parameters
        fits.append(fit)
    return fits


def _one(task: SeriesTask, seen: Seen, fitted: Parameters | None, form: Parameters | None) -> Fit:
    if np.all(seen.values == seen.values[0]):
        return Fit(np.full(task.horizon, seen.values[0]), np.zeros(task.horizon), {"method": CONSTANT})
    try:
        if fitted is not None and _has_form(fitted):
            return _finite(task.method.apply(seen, task.horizon, fitted))
        if form is not None:
            with contextlib.suppress(Exception):  # a form can cease to fit: multiplicative, and now a value is zero
                return _finite(task.method.estimate(seen, task.horizon, form))
        return _finite(task.method.choose(seen, task.horizon))
    except Exception as error:
        return _fallback(task, seen, f"{type(error).__name__}: {error}"[:LONGEST_REASON])


def _has_form(parameters: Parameters) -> bool:
    return parameters.get("method") not in {CONSTANT, SeasonalNaive.name}


def _finite(fit: Fit) -> Fit:
    if not (np.isfinite(fit.point).all() and np.isfinite(fit.spread).all()):
        raise ValueError("expected a forecast of finite numbers, found others; the series may be too erratic to fit")
    return fit


def _fallback(task: SeriesTask, seen: Seen, why: str) -> Fit:
    point, spread = seasonal_naive(seen.values, task.season_length, task.horizon)
    return Fit(point, spread, {"method": SeasonalNaive.name, "because": why}, failure=why)
